//! Small text files of unknown origin: in an image, or by a mount.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::libc::{O_NOCTTY, O_NONBLOCK};

/// The text of a regular file of at most `limit` bytes; bytes that are not UTF-8 become U+FFFD.
///
/// A FIFO or a device is not opened, which could wait forever or do something.
///
/// # Errors
/// Those of the system calls; [`io::ErrorKind::InvalidInput`] where it is not a regular file, and
/// [`io::ErrorKind::FileTooLarge`] where it is longer.
#[cfg(feature = "init")]
pub(crate) fn read(path: impl AsRef<Path>, limit: u64) -> io::Result<String> {
    let bytes = read_start(path, limit.saturating_add(1))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
        let fault = format!("it is longer than {} KiB", limit / 1024);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, fault));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first bytes of a regular file, at most `limit` of them.
///
/// # Errors
/// As [`read`], but for its length.
pub(crate) fn read_start(path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path.as_ref(), OpenOptions::new().read(true))?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The file, if it is a regular one; neither stat nor open blocks.
///
/// # Errors
/// As [`read`].
pub(crate) fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    refuse_irregular(&fs::metadata(path)?)?;
    let file = options.custom_flags(O_NONBLOCK | O_NOCTTY).open(path)?;
    // It may be another one by now.
    refuse_irregular(&file.metadata()?)?;
    Ok(file)
}

fn refuse_irregular(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    let fault = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "it is a directory",
        () if kind.is_fifo() => "it is a FIFO",
        () if kind.is_socket() => "it is a socket",
        () => "it is a device",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{fault}, not a regular file")))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[track_caller]
    fn refuses(path: &Path, kind: io::ErrorKind, text: &str) {
        let started = Instant::now();
        let error = read(path, 2048).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, text), "{}", path.display());
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_file_up_to_the_limit_whatever_its_encoding() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"caf\xe9\n").unwrap();
        assert_eq!(read(&path, 5).unwrap(), "caf\u{fffd}\n");
        assert_eq!(read(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read(folder.path().join("none"), 5).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let irregular = io::ErrorKind::InvalidInput;
        refuses(&fifo, irregular, "it is a FIFO, not a regular file");
        refuses(folder.path(), irregular, "it is a directory, not a regular file");
        refuses(Path::new("/dev/zero"), irregular, "it is a device, not a regular file");
        let huge = folder.path().join("huge");
        File::create(&huge).unwrap().set_len(1 << 40).unwrap();
        refuses(&huge, io::ErrorKind::FileTooLarge, "it is longer than 2 KiB");
    }
}
