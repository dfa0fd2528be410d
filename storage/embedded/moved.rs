//! The mark of a journal that was moved to a database: the file `moved` beside its directory, which says where to.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{disk::sync_directory, log::OpenError};

const MARK: &str = "moved";

/// Refuses a journal that was moved to a database.
///
/// # Errors
/// [`OpenError::Moved`], which says where it went; or when the file layer fails: nobody knows then whether it was.
pub fn not_moved(journal: &Path) -> Result<(), OpenError> {
    match moved_to(journal)? {
        Some(to) => Err(OpenError::Moved { mark: mark_of(journal), to }),
        None => Ok(()),
    }
}

/// The file that marks a journal's directory.
fn mark_of(journal: &Path) -> PathBuf {
    journal.with_file_name(MARK)
}

/// Where a journal was moved to, if it was.
///
/// # Errors
/// When the file layer fails: nobody knows then whether it was.
pub(crate) fn moved_to(journal: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(mark_of(journal)) {
        Ok(text) => Ok(Some(text.lines().next().unwrap_or_default().trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Marks a journal, durably: nobody opens it any more.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn mark_moved(journal: &Path, to: &str) -> io::Result<()> {
    let mark = mark_of(journal);
    // Only a whole one gets the name.
    let partial = mark.with_extension("next");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    writeln!(file, "{to}")?;
    file.sync_all()?;
    std::fs::rename(&partial, &mark)?;
    sync_directory(mark.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::EmbeddedJournal;

    #[test]
    fn a_journal_that_is_marked_does_not_open_and_nothing_is_written_there() {
        let data = tempfile::tempdir().unwrap();
        let journal = data.path().join("journal");
        drop(EmbeddedJournal::open(&journal, 4096).unwrap());
        not_moved(&journal).unwrap();
        let before = crate::embedded::survey(&journal, |_, _| Ok(())).unwrap();

        mark_moved(&journal, "database `prognet` at db:5432").unwrap();

        let refused = EmbeddedJournal::open(&journal, 4096).map(|_| ()).unwrap_err();
        assert!(matches!(&refused, OpenError::Moved { .. }), "{refused:?}");
        let said = refused.to_string();
        assert!(said.contains(data.path().join("moved").to_str().unwrap()), "{said}");
        assert!(said.contains("was moved to database `prognet` at db:5432"), "{said}");
        assert_eq!(crate::embedded::survey(&journal, |_, _| Ok(())).unwrap(), before);
    }
}
