//! What the log asks of a disk, so that tests can make each step fail before or after its effect.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Bytes written and synced at a time when zeros are laid out: small, so that commits on the same disk wait little for them.
const ZERO_CHUNK: usize = 1024 * 1024;

/// An open segment.
pub trait Device: Send {
    /// Writes all bytes at an offset.
    ///
    /// # Errors
    /// The system's.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything written durable (fdatasync).
    ///
    /// # Errors
    /// The system's; never to be retried.
    fn sync(&mut self) -> io::Result<()>;
}

/// The directory operations the log needs.
pub trait Disk: Send + Sync {
    /// Makes or replaces a file of zeros of this size, durable.
    ///
    /// # Errors
    /// The system's.
    fn create_zeroed(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn Device>>;

    /// Opens a file for writing; also its size.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, path: &Path) -> io::Result<(Box<dyn Device>, u64)>;

    /// Renames and makes the directory entry durable.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Replaces a small file whole and durably: readers see the old or the new one.
    ///
    /// # Errors
    /// The system's.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
}

/// The real disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileDisk;

struct FileDevice(File);

impl Device for FileDevice {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Files of the ledger are for this user alone.
fn private() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

impl Disk for FileDisk {
    fn create_zeroed(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn Device>> {
        let mut file = private().create(true).truncate(true).open(path)?;
        let zeros = vec![0; ZERO_CHUNK];
        let mut left = bytes;
        while left > 0 {
            let chunk = usize::try_from(left).unwrap_or(ZERO_CHUNK).min(ZERO_CHUNK);
            file.write_all(zeros.get(..chunk).unwrap_or_default())?;
            left -= chunk as u64;
            if left > 0 {
                file.sync_data()?;
            }
        }
        file.sync_all()?;
        sync_parent(path)?;
        Ok(Box::new(FileDevice(file)))
    }

    fn open(&self, path: &Path) -> io::Result<(Box<dyn Device>, u64)> {
        let file = private().open(path)?;
        let length = file.metadata()?.len();
        Ok((Box::new(FileDevice(file)), length))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)?;
        sync_parent(to)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = private().create(true).truncate(true).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.rename(&new, path)
    }
}
