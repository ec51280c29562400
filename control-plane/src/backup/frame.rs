//! The frames of a backup: a letter, a length of four bytes (big-endian), so many bytes. Bounded, so that a damaged length
//! costs no memory.

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::BackupError;

/// What every backup begins with.
pub(super) const MAGIC: &[u8; 20] = b"mailswitch backup 1\n";
/// Rows are cut into frames of this size.
pub(super) const CHUNK: usize = 64 * 1024;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The header, as JSON.
    Header,
    /// A table's name and columns, as JSON.
    Table,
    /// A piece of its rows.
    Rows,
    /// Its end: SHA-256 of its rows.
    TableEnd,
    /// The end: SHA-256 of all before.
    End,
}

const KINDS: [(Kind, u8); 5] = [
    (Kind::Header, b'H'),
    (Kind::Table, b'T'),
    (Kind::Rows, b'R'),
    (Kind::TableEnd, b'C'),
    (Kind::End, b'E'),
];

/// Writes frames, and counts them in.
pub(super) struct Writer<W> {
    out: W,
    all: Sha256,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(super) async fn new(out: W) -> Result<Self, BackupError> {
        let mut writer = Self {
            out,
            all: Sha256::new(),
        };
        writer.bytes(MAGIC).await?;
        Ok(writer)
    }

    pub(super) async fn frame(&mut self, kind: Kind, content: &[u8]) -> Result<(), BackupError> {
        let letter = KINDS
            .iter()
            .find(|(known, _)| *known == kind)
            .map_or(b'?', |(_, letter)| *letter);
        let length = u32::try_from(content.len())
            .map_err(|_| BackupError::Damaged("a frame is too long".to_owned()))?;
        self.bytes(&[letter]).await?;
        self.bytes(&length.to_be_bytes()).await?;
        self.bytes(content).await
    }

    pub(super) async fn finish(mut self) -> Result<(), BackupError> {
        let all = self.all.clone().finalize();
        self.frame(Kind::End, &all).await?;
        self.out.flush().await?;
        self.out.shutdown().await?;
        Ok(())
    }

    async fn bytes(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.all.update(bytes);
        self.out.write_all(bytes).await?;
        Ok(())
    }
}

/// Reads frames, and checks the last one.
pub(super) struct Reader<R> {
    input: R,
    all: Sha256,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) async fn new(input: R) -> Result<Self, BackupError> {
        let mut reader = Self {
            input,
            all: Sha256::new(),
        };
        let mut magic = [0; MAGIC.len()];
        reader
            .exactly(&mut magic)
            .await
            .map_err(|_| BackupError::NoBackup)?;
        if magic != *MAGIC {
            return Err(BackupError::NoBackup);
        }
        Ok(reader)
    }

    pub(super) async fn frame(&mut self) -> Result<(Kind, Vec<u8>), BackupError> {
        let before = self.all.clone();
        let mut head = [0; 5];
        self.exactly(&mut head).await?;
        let [letter, length @ ..] = head;
        let kind = KINDS
            .iter()
            .find(|(_, known)| *known == letter)
            .map(|(kind, _)| *kind)
            .ok_or_else(|| BackupError::Damaged(format!("a frame of kind {letter} is unknown")))?;
        let length = u32::from_be_bytes(length) as usize;
        if length > CHUNK {
            return Err(BackupError::Damaged(format!(
                "a frame says that it has {length} bytes"
            )));
        }
        let mut content = vec![0; length];
        self.exactly(&mut content).await?;
        if kind == Kind::End && content.as_slice() != before.finalize().as_slice() {
            return Err(BackupError::Damaged("its checksum is another one".to_owned()));
        }
        Ok((kind, content))
    }

    async fn exactly(&mut self, buffer: &mut [u8]) -> Result<(), BackupError> {
        self.input
            .read_exact(buffer)
            .await
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => BackupError::Damaged("it is cut short".to_owned()),
                _ => error.into(),
            })?;
        self.all.update(&*buffer);
        Ok(())
    }
}
