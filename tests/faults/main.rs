//! The promise under faults: the real programs on hosts of their own, a fault at each step of a cutover, and the truth
//! from the backends' logs. `tests/faults.sh` runs all of it; a seeded two dozen run with the other tests.
//!
//! A *cell* is a fault, a step, and the protocol that the account's clients speak meanwhile (`cell.rs`). What happens in one is
//! `trial.rs`; what must be true after it is `verdict.rs`.

mod cell;
mod moment;
mod trial;
mod verdict;
mod visits;
mod world;

use anyhow::{Result, ensure};

use self::{
    cell::{Cell, Wanted},
    trial::{Trial, run},
    world::World,
};

/// `MAILSWITCH_FAULTS`: `all`, a number of cells, or a part of their names; `MAILSWITCH_FAULTS_SEED`: which ones, in what
/// order, and how long they take.
#[test]
fn whatever_fails_in_the_middle_of_a_cutover_the_promise_is_kept() -> Result<()> {
    let wanted = Wanted::of_the_environment()?;
    let cells = wanted.cells();
    ensure!(!cells.is_empty(), "no cell has {wanted:?} in its name");
    let all = Cell::all().len();
    println!("{} of {all} cells, seed {}", cells.len(), wanted.seed);
    let mut world = World::start(cells.len() * trial::TRIES)?;
    let mut broken = Vec::new();
    let mut covered = 0;
    for (number, cell) in cells.iter().enumerate() {
        match run(&mut world, *cell, wanted.seed.wrapping_add(number as u64)) {
            Ok(Trial::Kept(said)) => {
                covered += 1;
                println!("{:4} {cell}: {said}", number + 1);
            }
            Ok(Trial::NeverThere) => {
                println!("{:4} {cell}: the cutover did not come to this step", number + 1)
            }
            Err(error) => {
                println!("{:4} {cell}: BROKEN: {error:#}", number + 1);
                broken.push(format!("{cell}: {error:#}"));
                // What one fault has left behind is not the next one's doing.
                drop(world);
                world = World::start((cells.len() - number) * trial::TRIES)?;
            }
        }
    }
    println!(
        "{covered} of {all} cells covered with seed {}, {} broken",
        wanted.seed,
        broken.len()
    );
    ensure!(
        broken.is_empty(),
        "{} broken; again: tests/faults.sh --seed {} --only NAME\n{}",
        broken.len(),
        wanted.seed,
        broken.join("\n")
    );
    ensure!(
        covered * 10 >= cells.len() * 9,
        "too few cells came to their step"
    );
    Ok(())
}
