//! Reading what is there, what is not there any more, and what cannot be read.

use std::{fs::File, io, sync::Arc};

use super::FileView;

async fn all(view: &FileView, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut found = Vec::new();
    while start + (found.len() as u64) < end {
        let at = start + found.len() as u64;
        match view.ready(at, end) {
            Some(piece) => found.extend_from_slice(&piece),
            None => found.extend_from_slice(&view.load(at, end).await?),
        }
    }
    Ok(found)
}

#[tokio::test]
async fn every_range_of_a_file_is_read_as_it_is() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let content: Vec<u8> = (0..2_000_000_u32).map(|n| (n / 7) as u8).collect();
    std::fs::write(file.path(), &content).unwrap();
    let view = FileView::new(Arc::new(File::open(file.path()).unwrap()));
    for (start, end) in [(0, content.len()), (5, 6), (4095, 4097), (777_777, 1_999_999), (100, 100)] {
        assert_eq!(all(&view, start as u64, end as u64).await.unwrap(), content[start..end]);
    }
}

#[tokio::test]
async fn a_file_that_was_truncated_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![7; 1_000_000]).unwrap();
    let view = FileView::new(Arc::new(File::open(file.path()).unwrap()));
    assert_eq!(all(&view, 0, 10).await.unwrap(), [7; 10]);
    file.as_file().set_len(10).unwrap();
    assert_eq!(all(&view, 0, 1_000_000).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn what_the_disk_cannot_read_is_an_error() {
    // Nothing is mapped at address 0: reading there is what reading a bad block is.
    let view = FileView::new(Arc::new(File::open("/proc/self/mem").unwrap()));
    assert_eq!(view.ready(0, 10), None);
    assert_eq!(view.load(0, 10).await.unwrap_err().raw_os_error(), Some(libc::EIO));
}
