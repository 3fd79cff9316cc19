//! Whether the plugin is installed, as one container of a pod learns it from another: by an abstract Unix socket, which all
//! containers of a pod share with their network namespace, and nobody else.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener, UnixStream as StdStream};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// The pause between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(1);

/// Reports to everyone who connects whether the plugin is installed, whenever that changes.
///
/// # Errors
/// The name is taken: another installer runs in the pod.
pub(super) fn announce(name: &str, installed: watch::Receiver<bool>) -> io::Result<()> {
    let listener = StdListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(report(stream, installed.clone()))),
                Err(_) => sleep(PAUSE).await,
            }
        }
    });
    Ok(())
}

async fn report(mut stream: UnixStream, mut installed: watch::Receiver<bool>) {
    loop {
        let byte = u8::from(*installed.borrow_and_update());
        if stream.write_all(&[byte]).await.is_err() || installed.changed().await.is_err() {
            return;
        }
    }
}

/// Whether the plugin is installed, as the installer says; not, while there is none.
pub(super) fn learn(name: String) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        while !sender.is_closed() {
            if let Ok(mut stream) = connect(&name) {
                while let Ok(byte) = stream.read_u8().await {
                    sender
                        .send_if_modified(|installed| std::mem::replace(installed, byte == 1) != (byte == 1));
                }
            }
            sender.send_if_modified(|installed| std::mem::replace(installed, false));
            sleep(PAUSE).await;
        }
    });
    receiver
}

fn connect(name: &str) -> io::Result<UnixStream> {
    let stream = StdStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn changes_are_reported_and_the_end_of_a_watch_is_not() {
        let name = format!("meshwire-test-{}", std::process::id());
        let mut seen = learn(name.clone());
        assert!(!*seen.borrow_and_update());
        let (state, installed) = watch::channel(true);
        announce(&name, installed.clone()).unwrap();
        assert_eq!(announce(&name, installed).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let patience = Duration::from_secs(30);
        timeout(patience, seen.wait_for(|installed| *installed)).await.unwrap().unwrap();
        state.send_replace(false);
        timeout(patience, seen.wait_for(|installed| !*installed)).await.unwrap().unwrap();
        state.send_replace(true);
        timeout(patience, seen.wait_for(|installed| *installed)).await.unwrap().unwrap();
        drop(state);
        timeout(patience, seen.wait_for(|installed| !*installed)).await.unwrap().unwrap();
    }
}
