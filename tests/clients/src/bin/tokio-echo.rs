//! An echo server, its clients and a file copy on tokio-uring.

use std::path::PathBuf;
use tokio_uring::fs::File;
use tokio_uring::net::{TcpListener, TcpStream};

const CLIENTS: usize = 8;
const ROUNDS: usize = 200;

fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("a folder"));
    tokio_uring::start(async {
        echo().await;
        copy(&dir).await;
    });
}

async fn echo() {
    let listener = TcpListener::bind("127.0.0.1:0".parse().expect("an address")).expect("bind");
    let addr = listener.local_addr().expect("a port");
    tokio_uring::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio_uring::spawn(serve(stream));
        }
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|c| {
            tokio_uring::spawn(async move {
                let stream = TcpStream::connect(addr).await.expect("connect");
                for round in 0..ROUNDS {
                    let sent = ringer_clients::content(1 + (c * 131 + round * 17) % 4000);
                    let (r, sent) = stream.write_all(sent).await;
                    r.expect("write");
                    assert_eq!(receive(&stream, sent.len()).await, sent);
                }
                ROUNDS
            })
        })
        .collect();
    let mut echoed = 0;
    for client in clients {
        echoed += client.await.expect("a client");
    }
    println!("echoed {echoed}");
}

async fn serve(stream: TcpStream) {
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

async fn receive(stream: &TcpStream, len: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < len {
        let (r, b) = stream.read(vec![0; len - got.len()]).await;
        let n = r.expect("read");
        assert_ne!(n, 0, "the server went away");
        got.extend_from_slice(&b[..n]);
    }
    got
}

async fn copy(dir: &std::path::Path) {
    let (from, to) = (dir.join("tokio.from"), dir.join("tokio.to"));
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
