//! The identity of this node for others: an id of its own, created at its first start and kept in its data folder.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use uuid::Uuid;

/// File of the id in the data folder.
const FILE: &str = "node-id";

/// A node's id (a UUIDv7 in text). Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// The id kept in `data_dir`, or a new one that is kept there from now on. A file that holds no id is replaced.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => {
                if let Ok(id) = text.trim().parse::<Uuid>() {
                    return Ok(Self(id.to_string().into()));
                }
                tracing::warn!(path = %path.display(), "the file holds no node id; making a new one");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let id = Self(Uuid::now_v7().to_string().into());
        let staged = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
        writeln!(file, "{id}")?;
        file.sync_all()?;
        fs::rename(&staged, &path)?;
        File::open(data_dir)?.sync_all()?;
        Ok(id)
    }

    /// As it is written in messages.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_outlives_restarts_and_no_two_folders_have_the_same() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = NodeId::open(one.path()).unwrap();
        assert_eq!(NodeId::open(one.path()).unwrap(), id);
        assert_ne!(NodeId::open(two.path()).unwrap(), id);
        fs::write(one.path().join(FILE), "no id").unwrap();
        let new = NodeId::open(one.path()).unwrap();
        assert_ne!(new, id);
        assert_eq!(NodeId::open(one.path()).unwrap(), new);
    }
}
