//! Turns the `.proto` files into Rust without `protoc`: protox parses them, tonic-prost-build writes the code.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "mailswitch/fleet/v1/fleet.proto",
        "mailswitch/control/v1/control.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure()
        .bytes(".mailswitch.fleet.v1.Change.keys")
        .bytes(".mailswitch.fleet.v1.Delta.payload")
        .compile_fds(descriptors)?;
    Ok(())
}
