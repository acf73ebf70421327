//! An echo server, its clients and a file copy on monoio.

use monoio::fs::File;
use monoio::io::{AsyncReadRent as _, AsyncReadRentExt as _, AsyncWriteRentExt as _};
use monoio::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

const CLIENTS: usize = 8;
const ROUNDS: usize = 200;

fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("a folder"));
    let builder = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new();
    builder.enable_timer().build().expect("a ring").block_on(async {
        echo().await;
        copy(&dir).await;
    });
}

async fn echo() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let addr = listener.local_addr().expect("a port");
    monoio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            monoio::spawn(serve(stream));
        }
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|c| {
            monoio::spawn(async move {
                let mut stream = TcpStream::connect(addr).await.expect("connect");
                for round in 0..ROUNDS {
                    let sent = ringer_clients::content(1 + (c * 131 + round * 17) % 4000);
                    let (r, sent) = stream.write_all(sent).await;
                    r.expect("write");
                    let (r, got) = stream.read_exact(vec![0; sent.len()]).await;
                    r.expect("read");
                    assert_eq!(got, sent);
                }
                ROUNDS
            })
        })
        .collect();
    let mut echoed = 0;
    for client in clients {
        echoed += client.await;
    }
    // It waits for time by a request of its own.
    monoio::time::sleep(std::time::Duration::from_millis(5)).await;
    println!("echoed {echoed}");
}

async fn serve(mut stream: TcpStream) {
    let mut buf = vec![0; 4096];
    loop {
        let (r, b) = stream.read(buf).await;
        buf = b;
        let n = r.expect("read");
        if n == 0 {
            return;
        }
        let (r, _) = stream.write_all(buf[..n].to_vec()).await;
        r.expect("write");
    }
}

async fn copy(dir: &Path) {
    let (from, to) = (dir.join("monoio.from"), dir.join("monoio.to"));
    std::fs::write(&from, ringer_clients::content(3 << 20)).expect("write");
    let source = File::open(&from).await.expect("open");
    let target = File::create(&to).await.expect("create");
    let (mut at, mut buf) = (0, vec![0; 100_000]);
    loop {
        let (r, b) = source.read_at(buf, at).await;
        buf = b;
        let n = r.expect("read_at");
        if n == 0 {
            break;
        }
        let (r, _) = target.write_all_at(buf[..n].to_vec(), at).await;
        r.expect("write_at");
        at += n as u64;
    }
    target.sync_all().await.expect("fsync");
    source.close().await.expect("close");
    target.close().await.expect("close");
    println!("copied {}", ringer_clients::same(&from, &to));
}
