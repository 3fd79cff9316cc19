//! What the commands say about the kernel that the tests happen to run on.

use std::process::Output;

use nix::sys::utsname::uname;

/// The output without the warning that this kernel is old: a test of its own looks at that.
pub(super) fn without_age(mut output: Output) -> Output {
    let names = uname().unwrap();
    let about_it = format!("this kernel is Linux {}, ", names.release().to_str().unwrap());
    let said = String::from_utf8(output.stderr).unwrap();
    let lines = said.split_inclusive('\n').filter(|line| !line.contains(&about_it));
    output.stderr = lines.collect::<String>().into_bytes();
    output
}
