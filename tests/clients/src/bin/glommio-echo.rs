//! An echo server, its clients and file copies, buffered and O_DIRECT, on glommio, which brings a
//! liburing of its own.

use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};
use glommio::io::{BufferedFile, DmaFile};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};
use std::path::{Path, PathBuf};

const CLIENTS: usize = 8;
const ROUNDS: usize = 200;

fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("a folder"));
    let builder = LocalExecutorBuilder::new(Placement::Unbound).io_memory(1 << 20);
    let body = move || async move {
        echo().await;
        copy(&dir).await;
        direct(&dir).await;
    };
    builder.spawn(body).expect("an executor").join().expect("its end");
}

async fn echo() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let addr = listener.local_addr().expect("a port");
    let accepting = glommio::spawn_local(async move {
        while let Ok(stream) = listener.accept().await {
            glommio::spawn_local(serve(stream)).detach();
        }
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|c| {
            glommio::spawn_local(async move {
                let mut stream = TcpStream::connect(addr).await.expect("connect");
                for round in 0..ROUNDS {
                    let sent = ringer_clients::content(1 + (c * 131 + round * 17) % 4000);
                    stream.write_all(&sent).await.expect("write");
                    let mut got = vec![0; sent.len()];
                    stream.read_exact(&mut got).await.expect("read");
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
    accepting.cancel().await;
    println!("echoed {echoed}");
}

async fn serve(mut stream: TcpStream) {
    let mut buf = vec![0; 4096];
    loop {
        let n = stream.read(&mut buf).await.expect("read");
        if n == 0 {
            return;
        }
        stream.write_all(&buf[..n]).await.expect("write");
    }
}

async fn copy(dir: &Path) {
    let (from, to) = (dir.join("glommio.from"), dir.join("glommio.to"));
    std::fs::write(&from, ringer_clients::content(3 << 20)).expect("write");
    let source = BufferedFile::open(&from).await.expect("open");
    let target = BufferedFile::create(&to).await.expect("create");
    let mut at = 0;
    loop {
        let read = source.read_at(at, 100_000).await.expect("read_at");
        if read.is_empty() {
            break;
        }
        at += target.write_at(read.to_vec(), at).await.expect("write_at") as u64;
    }
    target.fdatasync().await.expect("fdatasync");
    source.close().await.expect("close");
    target.close().await.expect("close");
    println!("copied {}", ringer_clients::same(&from, &to));
}

async fn direct(dir: &Path) {
    let to = dir.join("glommio.direct");
    let content = ringer_clients::content(64 << 10);
    let file = DmaFile::create(&to).await.expect("create");
    let mut buf = file.alloc_dma_buffer(content.len());
    buf.as_bytes_mut().copy_from_slice(&content);
    assert_eq!(file.write_at(buf, 0).await.expect("write_at"), content.len());
    file.close().await.expect("close");
    let file = DmaFile::open(&to).await.expect("open");
    let read = file.read_at_aligned(0, content.len()).await.expect("read_at");
    assert_eq!(&read[..], &content[..]);
    file.close().await.expect("close");
    println!("direct {}", ringer_clients::digest(&std::fs::read(&to).expect("read")));
}
