//! What writes the image, and what builds a release: neither needs an executable that works.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use meshwire_testkit::{oracle, say};
use serde_json::Value;

/// Writes an image to the folder, made of a file in place of the program; returns how that ended, and what was said.
fn image(folder: &Path, out: &str) -> (Option<i32>, String) {
    image_with(folder, &["--out", out])
}

fn image_with(folder: &Path, options: &[&str]) -> (Option<i32>, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/image");
    fs::write(folder.join("meshwire"), "program").unwrap();
    let mut command = Command::new("python3");
    command.arg(script).args(options).arg("amd64=meshwire").current_dir(folder);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The blob of a layout that a descriptor names.
fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:");
    layout.join("blobs/sha256").join(digest)
}

/// The manifest of a tag's first architecture.
fn manifest(layout: &Path, tag: &Value) -> Value {
    json(&blob(layout, &json(&blob(layout, tag))["manifests"][0]))
}

#[test]
fn a_layer_is_the_same_archive_however_it_is_compressed() {
    if !oracle("python3") || !oracle("gzip") || !oracle("zstd") || !oracle("sha256sum") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut archives = BTreeSet::new();
    for compression in ["gzip", "zstd"] {
        let options = ["--out", compression, "--compression", compression];
        assert_eq!(image_with(folder.path(), &options), (Some(0), String::new()), "{compression}");
        let layout = folder.path().join(compression);
        let manifest = manifest(&layout, &json(&layout.join("index.json"))["manifests"][0]);
        let layer = &manifest["layers"][0];
        let media_type = format!("application/vnd.oci.image.layer.v1.tar+{compression}");
        assert_eq!(layer["mediaType"], media_type.as_str());
        let unpacked = folder.path().join(format!("{compression}.tar"));
        let mut unpack = Command::new(compression);
        unpack.args(["-d", "-c"]).stdin(fs::File::open(blob(&layout, layer)).unwrap());
        run(unpack.stdout(fs::File::create(&unpacked).unwrap()));
        let sum = Command::new("sha256sum").arg(&unpacked).output().unwrap();
        let digest = String::from_utf8(sum.stdout).unwrap()[..64].to_owned();
        let config = json(&blob(&layout, &manifest["config"]));
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{digest}").as_str());
        archives.insert(digest);
    }
    assert_eq!(archives.len(), 1);
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
    assert_eq!(names.filter(|name| name.starts_with('.')).count(), 0, "nothing is left next to it");
}

/// A clone of the repository with a tag, in a folder of its own.
struct Tagged {
    folder: tempfile::TempDir,
}

impl Tagged {
    /// The last commit with the working copy of what is tested here; the changelog has the version if `released`.
    fn new(released: bool) -> Self {
        let (tagged, root) =
            (Self { folder: tempfile::tempdir().unwrap() }, Path::new(env!("CARGO_MANIFEST_DIR")));
        let clone = tagged.clone();
        let git = ["-c", "safe.directory=*", "clone", "--quiet", "--shared"];
        run(Command::new("git").args(git).arg(root).arg(&clone));
        for file in ["dist/release", "dist/image", "Cargo.toml"] {
            fs::copy(root.join(file), clone.join(file)).unwrap();
        }
        let version = if released { env!("CARGO_PKG_VERSION") } else { "0.0.1" };
        fs::write(clone.join("CHANGELOG.md"), format!("# Changes\n\n## {version} - 2026-01-31\n")).unwrap();
        for arguments in [&["commit", "--quiet", "--all", "--message=Release"][..], &["tag", &tagged.tag()]] {
            let identity = [
                "-c",
                "user.name=tester",
                "-c",
                "user.email=tester@example.com",
                "-c",
                "commit.gpgsign=false",
            ];
            run(Command::new("git").arg("-C").arg(&clone).args(identity).args(arguments));
        }
        // Not committed, so no part of the release.
        fs::write(clone.join("README.md"), "changed").unwrap();
        for target in TARGETS {
            let folder = tagged.path("prebuilt").join(target);
            fs::create_dir_all(&folder).unwrap();
            for name in ["meshwire", "meshwire-cni", "meshwire-agent"] {
                fs::write(folder.join(name), format!("{name} for {target}")).unwrap();
                fs::write(folder.join(format!("{name}.debug")), "symbols").unwrap();
            }
        }
        tagged
    }

    fn tag(&self) -> String {
        format!("v{}", env!("CARGO_PKG_VERSION"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn clone(&self) -> PathBuf {
        self.path("clone")
    }

    /// Builds the release from executables that are built already, without what takes long.
    fn release(&self, tag: &str, out: &str, more: &[&str]) -> Output {
        let mut command = Command::new(self.clone().join("dist/release"));
        command.args([
            tag,
            "--source",
            "https://example.com/meshwire",
            "--without",
            "manual",
            "--without",
            "sbom",
        ]);
        command.args(["--without", "crates", "--out"]).arg(self.path(out));
        command.arg("--prebuilt").arg(self.path("prebuilt")).args(more).output().unwrap()
    }
}

const TARGETS: [&str; 4] = [
    "x86_64-unknown-linux-musl",
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-musl",
    "aarch64-unknown-linux-gnu",
];

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn files(folder: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn a_release_has_everything_and_the_same_bytes_again() {
    if !oracle("python3") || !oracle("git") || !oracle("sha256sum") {
        return;
    }
    let tagged = Tagged::new(true);
    let mut said = String::new();
    for out in ["one", "another/place"] {
        let output = tagged.release(&tagged.tag(), out, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        said = String::from_utf8(output.stdout).unwrap();
    }
    for part in [
        "left out: crates, manual, sbom\n",
        "NOT TO BE PUBLISHED",
        "gpg --armor --detach-sign SHA256SUMS\n",
        "cosign attest-blob --type slsaprovenance1 --statement provenance.intoto.json",
        "-image.tar:istio-cni docker://REGISTRY/meshwire:",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }

    let one = tagged.path("one");
    run(Command::new("diff").arg("-r").args([&one, &tagged.path("another/place")]));
    run(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&one));
    let sums = fs::read_to_string(one.join("SHA256SUMS")).unwrap();
    let mut listed: BTreeSet<_> =
        sums.lines().map(|line| line.split_once("  ").unwrap().1.to_owned()).collect();
    let statement: Value =
        serde_json::from_slice(&fs::read(one.join("provenance.intoto.json")).unwrap()).unwrap();
    let subjects = statement["subject"].as_array().unwrap().iter();
    let mut stated: BTreeSet<_> =
        subjects.map(|subject| subject["name"].as_str().unwrap().to_owned()).collect();
    for tag in ["istio", "linkerd", "istio-cni", "linkerd-cni"] {
        assert!(stated.remove(&format!("image:{tag}")), "{tag}");
    }
    assert!(listed.insert("SHA256SUMS".into()), "{sums}");
    assert_eq!(listed, files(&one));
    stated.extend(["SHA256SUMS".into(), "provenance.intoto.json".into()]);
    assert_eq!(stated, files(&one));
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let definition = &statement["predicate"]["buildDefinition"];
    let head =
        Command::new("git").arg("-C").arg(tagged.clone()).args(["rev-parse", "HEAD"]).output().unwrap();
    let head = String::from_utf8(head.stdout).unwrap();
    assert_eq!(definition["resolvedDependencies"][0]["digest"]["gitCommit"], head.trim());
    let without = serde_json::json!(["crates", "manual", "sbom"]);
    assert_eq!(definition["externalParameters"]["without"], without);

    let archive = format!("meshwire-{}-aarch64-unknown-linux-musl", env!("CARGO_PKG_VERSION"));
    run(Command::new("tar")
        .arg("-xzf")
        .arg(one.join(format!("{archive}.tar.gz")))
        .current_dir(tagged.folder.path()));
    let unpacked = tagged.path(&archive);
    let expected = ["CHANGELOG.md", "LICENSE", "README.md", "meshwire", "meshwire-agent", "meshwire-cni"];
    assert_eq!(files(&unpacked), expected.map(str::to_owned).into());
    let program = fs::read_to_string(unpacked.join("meshwire")).unwrap();
    assert_eq!(program, "meshwire for aarch64-unknown-linux-musl");
    assert_ne!(
        fs::read_to_string(unpacked.join("README.md")).unwrap(),
        "changed",
        "only what is committed is released"
    );
}

#[test]
fn what_a_release_lacks_is_named() {
    if !oracle("python3") || !oracle("git") {
        return;
    }
    let tagged = Tagged::new(false);
    let refused = |tag: &str, more: &[&str], expected: &str| {
        let output = tagged.release(tag, "out", more);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && stderr.contains(expected), "{expected} in {stderr}");
        assert_eq!(files(tagged.folder.path()), ["clone", "prebuilt"].map(str::to_owned).into());
    };
    refused(&tagged.tag(), &[], &format!("CHANGELOG.md has no section {}\n", env!("CARGO_PKG_VERSION")));
    refused("v9.9.9", &[], "cannot clone the tag v9.9.9");
    run(Command::new("git").arg("-C").arg(tagged.clone()).args(["tag", "v9.9.9"]));
    refused("v9.9.9", &[], &format!("the tag v9.9.9 is not {}, the version in Cargo.toml", tagged.tag()));
    refused(&tagged.tag(), &["--without", "aarch64"], "invalid choice: 'aarch64'");
    let all: Vec<_> = TARGETS.iter().flat_map(|target| ["--without", target]).collect();
    refused(&tagged.tag(), &all, "no target is left");
    fs::remove_dir_all(tagged.path("prebuilt").join(TARGETS[2])).unwrap();
    refused(&tagged.tag(), &[], "aarch64-unknown-linux-musl: ");
    let allowed = tagged.release(&tagged.tag(), "out", &["--without", TARGETS[2]]);
    let stderr = String::from_utf8_lossy(&allowed.stderr);
    assert!(stderr.contains("CHANGELOG.md has no section"), "it gets further: {stderr}");
}

/// Builds it as it is shipped, and returns how many KiB it has.
fn shipped(package: &str, features: &[&str], out: &Path) -> u64 {
    let mut build = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/build"));
    let output = build.args(["--package", package]).args(features).arg("--out").arg(out).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::metadata(out.join(package)).unwrap().len() >> 10
}

/// The limits of what is shipped, in KiB: executables, and each tag of the image as it is pulled.
#[test]
#[ignore = "builds everything as it is shipped, for minutes; run by hand and at night"]
fn what_is_shipped_is_small() {
    if !oracle("python3") || !oracle("objcopy") {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shipped");
    let init: &[&str] = &["--no-default-features", "--features", "init"];
    let tools: &[&str] = &["--no-default-features", "--features", "tools"];
    // The init image is part of the product: whoever makes it larger has to say why. The limits are those with musl, which is
    // what is shipped. What the image takes is built last.
    let mut large = Vec::new();
    for (package, features, limit) in [
        ("meshwire", init, 1_134),
        ("meshwire", tools, 2_577),
        ("meshwire", &[], 3_155),
        ("meshwire-cni", &[], 3 << 10),
        ("meshwire-agent", &[], 9 << 10),
    ] {
        let size = shipped(package, features, &out);
        let line = format!("{package} {}: {size} KiB of {limit}", features.join(" "));
        say(&line);
        if size > limit {
            large.push(line);
        }
    }
    let layout = out.join("image");
    let mut image = Command::new("python3");
    image.arg(root.join("dist/image")).arg("--out").arg(&layout).arg(format!("amd64={}", out.display()));
    let output = image.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let index = json(&layout.join("index.json"));
    let tags = index["manifests"].as_array().unwrap();
    for tag in tags {
        let name = tag["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap();
        let manifest = manifest(&layout, tag);
        let layers = manifest["layers"].as_array().unwrap();
        let size = layers.iter().map(|layer| layer["size"].as_u64().unwrap()).sum::<u64>() >> 10;
        let line = format!("image {name}: {size} KiB of {} compressed", 6 << 10);
        say(&line);
        if size > 6 << 10 {
            large.push(line);
        }
    }
    assert_eq!(tags.len(), 4);
    assert!(large.is_empty(), "{large:#?}");
}
