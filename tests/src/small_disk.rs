//! A file system that is soon full. Mounting takes root.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// A mounted tmpfs; unmounted when dropped.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// One of so many MiB.
    pub fn mount(mebibytes: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("roadstead-disk-").tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).status();
        assert!(mounted.unwrap().success(), "mounting a tmpfs takes root");
        Self { folder }
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Forbids writes, or allows them again.
    pub fn set_read_only(&self, is: bool) {
        let how = if is { "remount,ro" } else { "remount,rw" };
        let mounted = Command::new("mount").args(["-o", how]).arg(self.path()).status();
        assert!(mounted.unwrap().success(), "mounting takes root, and nobody who writes");
    }

    /// Fills it to the last byte.
    pub fn fill_up(&self) {
        let mut ballast = File::create(self.ballast()).unwrap();
        for size in [1 << 20, 4096, 1] {
            let zeros = vec![0_u8; size];
            while ballast.write_all(&zeros).is_ok() {}
        }
    }

    /// Gives back what [`Self::fill_up`] took.
    pub fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has files open there keeps only those.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
