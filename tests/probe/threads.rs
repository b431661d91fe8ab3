//! A threaded program for `tests/programs.rs`: counts, sends, waits and starts a process.

use std::{process::Command, sync::mpsc, sync::Arc, sync::atomic::{AtomicU64, Ordering}, thread, time::Duration};

fn main() {
    let count = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = mpsc::channel();
    let threads: Vec<_> = (0..32)
        .map(|number| {
            let (count, sender) = (Arc::clone(&count), sender.clone());
            thread::Builder::new().stack_size(1 << 18).spawn(move || {
                for _ in 0..10_000 {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                thread::park_timeout(Duration::from_millis(1));
                sender.send(number).unwrap();
            })
        })
        .collect();
    for thread in threads {
        thread.unwrap().join().unwrap();
    }
    drop(sender);
    let sum: u64 = receiver.iter().sum();
    let child = Command::new("/bin/echo").arg("child").output().unwrap();
    print!("{} {sum} {}", count.load(Ordering::Relaxed), String::from_utf8_lossy(&child.stdout));
}
