//! What writes the image: of the folder that it is given, it replaces nothing that it has not written.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use meshwire_testkit::oracle;

/// Writes an image to the folder, made of a file in place of the program; returns how that ended, and what was said.
fn image(folder: &Path, out: &str) -> (Option<i32>, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/image");
    fs::write(folder.join("meshwire"), "program").unwrap();
    let mut command = Command::new("python3");
    command.arg(script).args(["--out", out, "amd64=meshwire"]).current_dir(folder);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_image_replaces_only_what_it_has_written() {
    if !oracle("python3") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("empty")).unwrap();
    for out in ["new", "new", "empty", "deep/er/new"] {
        assert_eq!(image(folder.path(), out), (Some(0), String::new()), "{out}");
        assert!(path(out).join("index.json").is_file(), "{out}");
    }

    // A layout of somebody else's, one of ours to which something was added, any other folder, a file and a link.
    for theirs in ["layout", "folder"] {
        fs::create_dir_all(path(theirs).join("blobs")).unwrap();
    }
    fs::write(path("layout/index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    fs::write(path("folder/keep"), "").unwrap();
    assert_eq!(image(folder.path(), "ours").0, Some(0));
    fs::write(path("ours/notes"), "").unwrap();
    symlink(path("new"), path("link")).unwrap();
    for (out, kept) in [
        ("layout", "layout/index.json"),
        ("folder", "folder/keep"),
        ("ours", "ours/notes"),
        ("meshwire", "meshwire"),
        ("link", "new/index.json"),
        (".", "folder/keep"),
    ] {
        let (code, stderr) = image(folder.path(), out);
        assert!(
            code == Some(2) && stderr.contains(&format!("--out: {out} is neither empty nor ")),
            "{stderr}"
        );
        assert!(path(kept).is_file(), "{out}");
    }
    let names =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with('.')).count(), 0, "nothing is left beside it");
}
