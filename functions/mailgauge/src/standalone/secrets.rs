//! The secrets of a data folder, in a file that only its owner may read. They are created once and never replaced: without them, stored
//! hashes and quarantined records are useless.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use adapters::secrets::Secrets;
use anyhow::{Context as _, anyhow};

const FILE: &str = "secrets";

/// Reads the secrets of a folder, or creates them if it has none.
pub fn read_or_create(folder: &Path) -> anyhow::Result<Secrets> {
    let path = folder.join(FILE);
    match std::fs::read(&path) {
        Ok(bytes) => match bytes.try_into() {
            Ok(bytes) => Ok(Secrets::from_bytes(bytes)),
            Err(_) => Err(anyhow!("{} is damaged: restore it from a backup of this folder", path.display())),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => create(folder, &path),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Written to another file and then renamed, so that a crash leaves either no secrets or whole ones.
fn create(folder: &Path, path: &Path) -> anyhow::Result<Secrets> {
    let secrets = Secrets::generate()?;
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    // Given with the creation: between creating the file and restricting it, others could open it.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = || {
        let mut file = options.open(&new)?;
        file.write_all(&secrets.bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        // Without this, a power failure could undo the rename after events were hashed with these secrets.
        File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_created_once_and_readable_by_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let first = read_or_create(folder.path()).unwrap();
        let again = read_or_create(folder.path()).unwrap();
        assert_eq!(first.bytes(), again.bytes());
        assert_ne!(first.bytes(), &[0; Secrets::BYTES]);
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
        let error = read_or_create(folder.path()).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}
