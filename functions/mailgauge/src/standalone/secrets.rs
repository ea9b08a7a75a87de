//! The secrets of a data folder, in a file that only its owner may read. They are created once and never replaced: without them, stored
//! hashes and quarantined records are useless.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use adapters::secrets::Secrets;
use anyhow::{Context as _, anyhow, bail};

const FILE: &str = "secrets";

/// Reads the secrets of a folder; `None` if it has none.
pub fn read(folder: &Path) -> anyhow::Result<Option<Secrets>> {
    let path = folder.join(FILE);
    match std::fs::read(&path) {
        Ok(stored) => Secrets::decode(&stored)
            .map(Some)
            .ok_or_else(|| anyhow!("{} is damaged: restore it from a backup of this folder", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The error for a folder that has data but no secrets. New ones would count every person twice and open nothing that is sealed.
pub fn missing(folder: &Path) -> anyhow::Error {
    anyhow!(
        "data folder {0} has data but lacks its file {FILE}, without which events that were counted are not recognised and quarantined \
         records cannot be opened: restore that file from a backup of this folder, or name a new folder with --data",
        folder.display()
    )
}

/// Creates the secrets of a folder.
pub fn create(folder: &Path) -> anyhow::Result<Secrets> {
    let secrets = Secrets::generate()?;
    write(&secrets, folder)?;
    Ok(secrets)
}

/// Gives the secrets of a folder to another one, which has none.
pub fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let secrets = read(from)?.ok_or_else(|| missing(from))?;
    if read(to)?.is_some() {
        bail!("{} has secrets, which a copy must not replace: name a new folder", to.display());
    }
    write(&secrets, to)
}

/// Writes them to another file, which is then renamed, so that a crash leaves either no secrets or whole ones.
fn write(secrets: &Secrets, folder: &Path) -> anyhow::Result<()> {
    let path = &folder.join(FILE);
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    // Given with the creation: between creating the file and restricting it, others could open it.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = || {
        let mut file = options.open(&new)?;
        file.write_all(&secrets.encode())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        // Without this, a power failure could undo the rename after events were hashed with these secrets.
        File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_kept_and_readable_by_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap().is_none());
        let first = create(folder.path()).unwrap();
        let again = read(folder.path()).unwrap().unwrap();
        assert_eq!(first.encode(), again.encode());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = folder.path().join(FILE).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
    }

    #[test]
    fn damaged_secrets_are_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), b"short").unwrap();
        let error = read(folder.path()).map(drop).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}
