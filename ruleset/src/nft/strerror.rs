//! Errors of the system in nft's words.

use std::io;

use nftwire::errno_text;

/// An errno in the words of glibc's strerror(3): nft's own where distributions build it. Whoever calls nft may look for them, and
/// other C libraries have others.
pub(super) fn strerror(errno: i32) -> String {
    let text = errno_text(errno);
    let Some((name, words)) = text.split_once(": ") else { return format!("Unknown error {errno}") };
    let glibcs = match name {
        "EIO" => "Input/output error",
        "EBADF" => "Bad file descriptor",
        "EAGAIN" => "Resource temporarily unavailable",
        "ENOMEM" => "Cannot allocate memory",
        "EXDEV" => "Invalid cross-device link",
        "ENFILE" => "Too many open files in system",
        "ENOTTY" => "Inappropriate ioctl for device",
        "EDOM" => "Numerical argument out of domain",
        "ERANGE" => "Numerical result out of range",
        "EDEADLK" => "Resource deadlock avoided",
        "ENOLCK" => "No locks available",
        "ELOOP" => "Too many levels of symbolic links",
        "EBADMSG" => "Bad message",
        "EILSEQ" => "Invalid or incomplete multibyte or wide character",
        "EOPNOTSUPP" => "Operation not supported",
        "ENETRESET" => "Network dropped connection on reset",
        "EDQUOT" => "Disk quota exceeded",
        // For the rest glibc has the words of include/uapi/asm-generic/errno.h.
        _ => words,
    };
    glibcs.to_owned()
}

/// What a system call said; in its own words where there is no errno.
pub(super) fn of_io(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), strerror)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_env = "gnu")]
    #[test]
    fn words_are_glibcs() {
        // The last one is EHWPOISON.
        for errno in 1..=133 {
            let glibcs = io::Error::from_raw_os_error(errno).to_string();
            assert_eq!(Some(strerror(errno).as_str()), glibcs.strip_suffix(&format!(" (os error {errno})")));
        }
    }

    #[test]
    fn an_error_without_an_errno_speaks_for_itself() {
        assert_eq!(of_io(&io::Error::other("it is odd")), "it is odd");
        assert_eq!(of_io(&io::Error::from_raw_os_error(16)), "Device or resource busy");
    }
}
