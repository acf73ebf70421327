//! An echo server, its clients and a file copy on compio.

use compio::buf::{IntoInner as _, IoBuf as _};
use compio::fs::File;
use compio::io::AsyncWriteExt as _;
use compio::io::{AsyncRead as _, AsyncReadAt as _, AsyncReadExt as _, AsyncWriteAtExt as _};
use compio::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

const CLIENTS: usize = 8;
const ROUNDS: usize = 200;

fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("a folder"));
    compio::runtime::Runtime::new().expect("a ring").block_on(async {
        echo().await;
        copy(&dir).await;
    });
}

async fn echo() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = listener.local_addr().expect("a port");
    let accepting = compio::runtime::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            compio::runtime::spawn(serve(stream)).detach();
        }
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|c| {
            compio::runtime::spawn(async move {
                let mut stream = TcpStream::connect(addr).await.expect("connect");
                for round in 0..ROUNDS {
                    let sent = ringer_clients::content(1 + (c * 131 + round * 17) % 4000);
                    let (_, sent) = stream.write_all(sent).await.expect("write");
                    let buf = Vec::with_capacity(sent.len());
                    let (_, got) = stream.read_exact(buf).await.expect("read");
                    assert_eq!(got, sent);
                }
                ROUNDS
            })
        })
        .collect();
    let mut echoed = 0;
    for client in clients {
        echoed += client.await.expect("a client");
    }
    drop(accepting);
    println!("echoed {echoed}");
}

async fn serve(mut stream: TcpStream) {
    let mut buf = Vec::with_capacity(4096);
    loop {
        let (n, b) = stream.read(buf).await.expect("read");
        if n == 0 {
            return;
        }
        let (_, b) = stream.write_all(b.slice(..n)).await.expect("write");
        buf = b.into_inner();
        buf.clear();
    }
}

async fn copy(dir: &Path) {
    let (from, to) = (dir.join("compio.from"), dir.join("compio.to"));
    std::fs::write(&from, ringer_clients::content(3 << 20)).expect("write");
    let source = File::open(&from).await.expect("open");
    let mut target = File::create(&to).await.expect("create");
    let mut at = 0;
    loop {
        let (n, buf) = source.read_at(Vec::with_capacity(100_000), at).await.expect("read_at");
        if n == 0 {
            break;
        }
        target.write_all_at(buf, at).await.expect("write_at");
        at += n as u64;
    }
    target.sync_all().await.expect("fsync");
    source.close().await.expect("close");
    target.close().await.expect("close");
    println!("copied {}", ringer_clients::same(&from, &to));
}
