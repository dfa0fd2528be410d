//! The file layer beneath the journal, so thin that tests can put a lying disk in its place.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// One file.
pub(crate) trait DiskFile: Send + Sync {
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()>;
    /// Everything written is on the device when this returns.
    fn sync(&self) -> io::Result<()>;
    fn set_len(&self, length: u64) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
}

/// A directory of files.
pub(crate) trait Disk: Send + Sync + 'static {
    /// Opens a file, made if it is not there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Names of all files, sorted.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Renames durably.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// New names are on the device when this returns.
    fn sync_names(&self) -> io::Result<()>;
}

/// The real one.
#[derive(Debug, Clone)]
pub(crate) struct RealDisk(pub(crate) PathBuf);

impl Disk for RealDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.0.join(name))?;
        Ok(Arc::new(file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))?;
        self.sync_names()
    }

    fn sync_names(&self) -> io::Result<()> {
        sync_directory(&self.0)
    }
}

/// Makes a directory that is its owner's alone: even when which file grows is nobody else's to see.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl DiskFile for File {
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.write_all_at(bytes, position)
    }

    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        self.read_exact_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        Self::set_len(self, length)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
