//! Writes the manual pages and the completions, made of the command line's own definition: `meshwire-manual FOLDER`.
//!
//! A program of its own, so that what makes them is not in the one that is shipped. The pages' date is SOURCE_DATE_EPOCH.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};
use std::{env, fs};

use meshwire_manual::{completions, pages};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or("usage: meshwire-manual FOLDER")?);
    let epoch = env::var("SOURCE_DATE_EPOCH").map_or(Ok(0), |text| text.parse())?;
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(epoch)).to_string();
    let (date, _) = time.split_once('T').ok_or("SOURCE_DATE_EPOCH is not a time")?;

    let man = folder.join("man/man8");
    fs::create_dir_all(&man)?;
    for (name, text) in pages(date) {
        fs::write(man.join(name), text)?;
    }
    completions(&folder.join("completions"))?;
    println!("{}: {} manual pages, and completions", folder.display(), fs::read_dir(&man)?.count());
    Ok(())
}
