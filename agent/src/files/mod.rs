//! Files on the host that others read, and write, at any moment.

mod watch;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

pub use watch::Watch;

/// What temporary files have after the name of the file that they become. Container runtimes read none of them.
const TEMPORARY: &str = ".tmp.";

/// A file or folder that could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt} {}: {error}{}", path.display(), hint(error, path))]
pub struct FileError {
    /// What was tried: read, write, create, remove, list, watch
    pub attempt: &'static str,
    /// The path in this container
    pub path: PathBuf,
    /// What the system call replied
    pub error: io::Error,
}

impl FileError {
    pub(crate) fn new(attempt: &'static str, path: &Path, error: io::Error) -> Self {
        Self { attempt, path: path.to_owned(), error }
    }
}

/// What to do about it, where that can be said.
fn hint(error: &io::Error, path: &Path) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let labels = match (label_of(path), own_label()) {
                (Some(file), Some(own)) => format!("its SELinux label is {file}, this process runs as {own}"),
                (Some(file), None) => format!("its SELinux label is {file}"),
                (None, _) => "it has no SELinux label, so its mode or owner forbids it".into(),
            };
            format!(
                "; {labels}: where SELinux denies host paths to containers, set seLinuxOptions.type: spc_t in the \
                 container's securityContext"
            )
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; the platform keeps this folder elsewhere: see global.platform, cniBinDir and cniConfDir of Istio's chart, \
             destCNIBinDir and destCNINetDir of Linkerd's"
                .into()
        }
        _ => String::new(),
    }
}

/// `security.selinux` of the path, or of the nearest folder above it that exists.
fn label_of(path: &Path) -> Option<String> {
    path.ancestors().find(|path| path.exists()).and_then(|path| {
        let mut label = [0; 256];
        let length = rustix::fs::getxattr(path, "security.selinux", &mut label[..]).ok()?;
        Some(String::from_utf8_lossy(label.get(..length)?).trim_end_matches('\0').to_owned())
    })
}

/// The label that this process runs with.
fn own_label() -> Option<String> {
    let label = fs::read_to_string("/proc/self/attr/current").ok()?;
    let label = label.trim_end_matches(['\0', '\n']);
    (!label.is_empty() && label.contains(':')).then(|| label.to_owned())
}

/// The file's content; `None` if it does not exist.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", path, error)),
    }
}

/// The permission bits of a file; `None` if it does not exist.
pub(crate) fn mode(path: &Path) -> Result<Option<u32>, FileError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.permissions().mode() & 0o7777)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", path, error)),
    }
}

/// Creates or replaces a file of a plugin, the `owner`: readers see the old content or the new, also after a power failure.
///
/// # Errors
/// The file is as it was.
pub fn replace(path: &Path, content: &[u8], mode: u32, owner: &str) -> Result<(), FileError> {
    let temporary = Temporary::write(path, &mut &*content, mode, owner)?;
    fs::rename(&temporary.path, path).map_err(|error| FileError::new("write", path, error))?;
    sync_folder(path)
}

/// Copies a file, with its mode, if the copy is missing or differs. Returns whether it did.
///
/// # Errors
/// The copy is as it was.
pub fn copy_if_different(from: &Path, to: &Path, owner: &str) -> Result<bool, FileError> {
    let fail = |error| FileError::new("read", from, error);
    let mut source = File::open(from).map_err(fail)?;
    let mode = source.metadata().map_err(fail)?.permissions().mode() & 0o7777;
    if self::mode(to)? == Some(mode)
        && same_content(&mut source, to).map_err(|error| FileError::new("read", to, error))?
    {
        return Ok(false);
    }
    let mut source = File::open(from).map_err(fail)?;
    let temporary = Temporary::write(to, &mut source, mode, owner)?;
    fs::rename(&temporary.path, to).map_err(|error| FileError::new("write", to, error))?;
    sync_folder(to)?;
    Ok(true)
}

/// Compares piece by piece: a plugin of some megabytes would stay in the agent's memory.
fn same_content(source: &mut File, other: &Path) -> io::Result<bool> {
    let mut other = File::open(other)?;
    if source.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut two) = (vec![0; 32 * 1024], vec![0; 32 * 1024]);
    loop {
        let length = source.read(&mut one)?;
        let (Some(one), Some(two)) = (one.get(..length), two.get_mut(..length)) else { return Ok(false) };
        if length == 0 {
            return Ok(true);
        }
        if let Err(error) = other.read_exact(two) {
            return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(false) } else { Err(error) };
        }
        if one != two {
            return Ok(false);
        }
    }
}

/// Whether the file was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It was
    Yes,
    /// Another program has written it since it was read; it is as that program left it
    Changed,
}

/// Replaces the file if its content is still `old`, so that what another program writes in between is not lost.
///
/// # Errors
/// The file is as it was.
pub fn replace_if(
    path: &Path,
    old: &[u8],
    content: &[u8],
    mode: u32,
    owner: &str,
) -> Result<Replaced, FileError> {
    if read(path)?.as_deref() != Some(old) {
        return Ok(Replaced::Changed);
    }
    let temporary = Temporary::write(path, &mut &*content, mode, owner)?;
    // The two files change names, so that the one which was replaced can still be looked at.
    match renameat_with(CWD, &temporary.path, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            fs::rename(&temporary.path, path).map_err(|error| FileError::new("write", path, error))?;
            sync_folder(path)?;
            return Ok(Replaced::Yes);
        }
        Err(rustix::io::Errno::NOENT) => return Ok(Replaced::Changed),
        Err(error) => return Err(FileError::new("write", path, error.into())),
    }
    if read(&temporary.path)?.as_deref() != Some(old) {
        // A rename of another program's came first: its file is the newer one.
        renameat_with(CWD, &temporary.path, CWD, path, RenameFlags::EXCHANGE)
            .map_err(|error| FileError::new("write", path, error.into()))?;
        sync_folder(path)?;
        return Ok(Replaced::Changed);
    }
    sync_folder(path)?;
    Ok(Replaced::Yes)
}

/// Removes a file. It is fine if it does not exist.
///
/// # Errors
/// It is still there.
pub fn remove(path: &Path) -> Result<bool, FileError> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::new("remove", path, error)),
    }
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, FileError> {
    let fail = |error| FileError::new("list", folder, error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        if let Ok(name) = entry.map_err(fail)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes the temporary files of `owner` that a process which was killed has left in a folder. Another mesh's installer has
/// its own there.
pub(crate) fn remove_leftovers(folder: &Path, owner: &str) -> Result<(), FileError> {
    let mark = format!("{TEMPORARY}{owner}.");
    for leftover in names(folder)?.iter().filter(|name| name.contains(&mark)) {
        remove(&folder.join(leftover))?;
    }
    Ok(())
}

/// A temporary file in the folder of the one that it is to become; removed when it is dropped.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn write(target: &Path, content: &mut dyn Read, mode: u32, owner: &str) -> Result<Self, FileError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut name = target.file_name().unwrap_or_default().to_owned();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        name.push(format!("{TEMPORARY}{owner}.{}-{count}", std::process::id()));
        let path = target.with_file_name(name);
        let fail = |error| FileError::new("write", target, error);
        // The name is ours alone: what has it is left from a process with our number in another container.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&path)
            .map_err(fail)?;
        let temporary = Self { path };
        // Also where the umask takes bits away.
        file.set_permissions(Permissions::from_mode(mode)).map_err(fail)?;
        io::copy(content, &mut file).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        Ok(temporary)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a plain rename it is gone already.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes the folder's new entries survive a power failure.
fn sync_folder(path: &Path) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| FileError::new("write", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_whole_and_only_if_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.conflist");
        replace(&path, b"one", 0o600, "x").unwrap();
        assert_eq!(mode(&path).unwrap(), Some(0o600));
        assert_eq!(replace_if(&path, b"one", b"two", 0o644, "x").unwrap(), Replaced::Yes);
        assert_eq!((fs::read(&path).unwrap().as_slice(), mode(&path).unwrap()), (&b"two"[..], Some(0o644)));
        assert_eq!(replace_if(&path, b"one", b"three", 0o644, "x").unwrap(), Replaced::Changed);
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(folder.path()).unwrap(), ["a.conflist"]);
        for owner in ["x", "y"] {
            fs::write(folder.path().join(format!("a.conflist.tmp.{owner}.7-1")), "").unwrap();
        }
        remove_leftovers(folder.path(), "x").unwrap();
        assert_eq!(names(folder.path()).unwrap(), ["a.conflist", "a.conflist.tmp.y.7-1"]);
        assert!(remove(&path).unwrap() && !remove(&path).unwrap());
    }

    #[test]
    fn copies_are_made_when_they_differ() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, vec![7; 100_000]).unwrap();
        fs::set_permissions(&from, Permissions::from_mode(0o755)).unwrap();
        assert!(copy_if_different(&from, &to, "x").unwrap());
        assert!(!copy_if_different(&from, &to, "x").unwrap());
        let mut other = vec![7; 100_000];
        other[99_999] = 8;
        fs::write(&to, &other).unwrap();
        assert!(copy_if_different(&from, &to, "x").unwrap());
        assert_eq!((fs::read(&to).unwrap(), mode(&to).unwrap()), (vec![7; 100_000], Some(0o755)));
        fs::set_permissions(&to, Permissions::from_mode(0o644)).unwrap();
        assert!(copy_if_different(&from, &to, "x").unwrap());
    }

    #[test]
    fn a_refusal_names_what_selinux_needs() {
        let error = FileError::new("write", Path::new("/proc"), io::Error::from_raw_os_error(13));
        let text = error.to_string();
        assert!(text.contains("SELinux label") && text.contains("seLinuxOptions.type: spc_t"), "{text}");
        let error = FileError::new("write", Path::new("/usr"), io::Error::from_raw_os_error(30));
        assert!(error.to_string().contains("global.platform"), "{error}");
    }
}
