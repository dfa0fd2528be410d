//! The id of a migration, in the source: the file `migration` of its data directory. The store has the same.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use uuid::Uuid;

use crate::embedded::sync_directory;

pub(super) fn file_of(data: &Path) -> PathBuf {
    data.join("migration")
}

/// The id, if one was drawn.
pub(super) fn known(data: &Path) -> io::Result<Option<Uuid>> {
    match std::fs::read_to_string(file_of(data)) {
        Ok(text) => Uuid::parse_str(text.trim()).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The id, drawn and kept if there is none.
pub(super) fn drawn(data: &Path) -> io::Result<Uuid> {
    if let Some(known) = known(data)? {
        return Ok(known);
    }
    let mut id = [0; 16];
    rand::fill(&mut id).map_err(|_why| io::Error::other("no randomness"))?;
    let id = Uuid::from_bytes(id);
    // Only a whole one gets the name.
    let (file, partial) = (file_of(data), file_of(data).with_extension("next"));
    let mut written =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    writeln!(written, "{id}")?;
    written.sync_all()?;
    std::fs::rename(&partial, &file)?;
    sync_directory(data)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_drawn_once_and_kept() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(known(data.path()).unwrap(), None);

        let id = drawn(data.path()).unwrap();

        assert_eq!((drawn(data.path()).unwrap(), known(data.path()).unwrap()), (id, Some(id)));
        std::fs::write(file_of(data.path()), "none").unwrap();
        assert!(drawn(data.path()).is_err(), "nobody knows whose copy the store then has");
    }
}
