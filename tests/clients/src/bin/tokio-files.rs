//! Files on tokio with its io_uring: many tasks write, read, open and close at once.

use std::path::PathBuf;
use tokio::io::AsyncWriteExt as _;

const FILES: usize = 40;

fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("a folder"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let sum = runtime.expect("a runtime").block_on(async move {
        let tasks =
            (0..FILES).map(|i| tokio::spawn(there_and_back(dir.join(format!("tokio.{i}")), i)));
        let tasks: Vec<_> = tasks.collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.expect("a task");
        }
        sum
    });
    println!("files {FILES}, bytes {sum}");
}

async fn there_and_back(path: PathBuf, i: usize) -> usize {
    let content = ringer_clients::content(1 + i * 9973);
    tokio::fs::write(&path, &content).await.expect("write");
    assert_eq!(tokio::fs::read(&path).await.expect("read"), content);
    let mut options = tokio::fs::OpenOptions::new();
    let mut file = options.append(true).open(&path).await.expect("open");
    file.write_all(&content).await.expect("append");
    file.sync_all().await.expect("fsync");
    drop(file);
    let twice = tokio::fs::read(&path).await.expect("read again");
    assert_eq!(twice, [&content[..], &content].concat());
    twice.len()
}
