//! Pieces as they come out of a network: again, late, from the beginning, of another snapshot.

use std::io::{self, SeekFrom};

use nodeseal::fs::SimFs;
use nodeseal_openraft::{SnapshotData, Snapshots};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use crate::support::machine::Types;
use crate::support::random::Random;
use crate::support::snapshot_meta;
use crate::{content, on, state, told};

const PIECE: usize = 1000;

/// What openraft's receiver does with pieces: it seeks only if the offset is not where it is.
struct Receiver {
    data: SnapshotData,
    offset: u64,
}

impl Receiver {
    async fn begin(snapshots: &Snapshots) -> Self {
        Self { data: snapshots.begin::<Types>().await.unwrap(), offset: 0 }
    }

    async fn receive(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset != self.offset {
            self.data.seek(SeekFrom::Start(offset)).await?;
            self.offset = offset;
        }
        self.data.write_all(bytes).await?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Receives piece `n` of a state.
    async fn piece(&mut self, state: &[u8], n: usize) -> io::Result<()> {
        let piece = state.chunks(PIECE).nth(n).unwrap();
        self.receive((n * PIECE) as u64, piece).await
    }

    async fn finish(mut self, snapshots: &Snapshots) -> io::Result<Vec<u8>> {
        self.data.shutdown().await?;
        let installed = snapshots.install::<Types>(&snapshot_meta(9), self.data).await.unwrap();
        Ok(told(installed).await.1)
    }
}

#[tokio::test]
async fn a_piece_may_come_again_and_a_transfer_may_begin_again() {
    let snapshots = on(&SimFs::new()).0.snapshots();
    let sent = state(1, 5500);
    for order in [
        &[0, 1, 2, 3, 4, 5][..],
        // The reply to one was lost.
        &[0, 0, 1, 2, 2, 2, 3, 4, 5, 5],
        // A longer failure: all again.
        &[0, 1, 2, 0, 1, 2, 3, 4, 5],
        &[0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5],
        // The network delivered old pieces late.
        &[0, 1, 2, 0, 3, 1, 4, 2, 5],
        &[0, 1, 2, 1, 0, 3, 4, 0, 5],
    ] {
        let mut receiver = Receiver::begin(&snapshots).await;
        for n in order {
            receiver.piece(&sent, *n).await.unwrap();
        }
        assert_eq!(receiver.finish(&snapshots).await.unwrap(), sent, "{order:?}");
    }
}

#[tokio::test]
async fn a_transfer_that_begins_again_with_other_bytes_replaces_the_first() {
    let snapshots = on(&SimFs::new()).0.snapshots();
    let (first, mut second) = (state(1, 5500), state(1, 4500));
    second[2500] ^= 1;
    let mut receiver = Receiver::begin(&snapshots).await;
    for n in 0..5 {
        receiver.piece(&first, n).await.unwrap();
    }
    // The first pieces are the same, the third is not: that shows with the next one, and
    // everything must come again.
    let mut failed = None;
    for n in 0..5 {
        failed = failed.or(receiver.piece(&second, n).await.err().map(|e| (n, e.to_string())));
    }
    let (at, text) = failed.unwrap();
    assert_eq!((at, text.contains("other bytes")), (3, true), "{text}");
    for n in 0..5 {
        receiver.piece(&second, n).await.unwrap();
    }
    assert_eq!(receiver.finish(&snapshots).await.unwrap(), second);
}

#[tokio::test]
async fn a_piece_after_a_missing_one_is_refused_and_the_rest_may_still_come() {
    let snapshots = on(&SimFs::new()).0.snapshots();
    let sent = state(1, 5500);
    let mut receiver = Receiver::begin(&snapshots).await;
    receiver.piece(&sent, 0).await.unwrap();
    receiver.piece(&sent, 2).await.unwrap_err();
    for n in 1..=5 {
        receiver.piece(&sent, n).await.unwrap();
    }
    assert_eq!(receiver.finish(&snapshots).await.unwrap(), sent);
}

#[tokio::test]
async fn a_snapshot_that_ends_before_what_was_written_is_refused() {
    let snapshots = on(&SimFs::new()).0.snapshots();
    let sent = state(1, 5500);
    let mut receiver = Receiver::begin(&snapshots).await;
    for n in 0..5 {
        receiver.piece(&sent, n).await.unwrap();
    }
    // A shorter one of the same id, whose last piece is this.
    receiver.piece(&sent, 1).await.unwrap();
    receiver.finish(&snapshots).await.unwrap_err();
    assert!(snapshots.current::<Types>().await.unwrap().is_none());
}

#[tokio::test]
async fn after_a_write_that_failed_the_snapshot_begins_again() {
    let disk = SimFs::new();
    let snapshots = on(&disk).0.snapshots();
    // Each piece is written at once if it is longer than what the stream seals at once.
    let sent = state(1, 300_000);
    let mut receiver = Receiver::begin(&snapshots).await;
    receiver.receive(0, &sent[..100_000]).await.unwrap();
    receiver.data.flush().await.unwrap();
    disk.fail_at(0, io::ErrorKind::StorageFull);
    receiver.receive(100_000, &sent[100_000..200_000]).await.unwrap();
    receiver.receive(200_000, &sent[200_000..]).await.unwrap_err();
    receiver.receive(200_000, &sent[200_000..]).await.unwrap_err();
    for (n, piece) in sent.chunks(100_000).enumerate() {
        receiver.receive(n as u64 * 100_000, piece).await.unwrap();
    }
    assert_eq!(receiver.finish(&snapshots).await.unwrap(), sent);
}

/// A server whose client hangs up stops amid a piece.
#[tokio::test]
async fn a_caller_that_gives_up_leaves_no_half_piece() {
    let snapshots = on(&SimFs::new()).0.snapshots();
    let sent = state(1, 200_000);
    let mut receiver = Receiver::begin(&snapshots).await;
    let mut given_up = 0;
    let mut random = Random::new(5);
    for n in 0..200 {
        loop {
            let received = receiver.piece(&sent, n);
            let soon = async {
                for _ in 0..random.below(3) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                () = soon => given_up += 1,
                received = received => {
                    received.unwrap();
                    break;
                }
            }
        }
    }
    assert!(given_up > 10);
    assert_eq!(receiver.finish(&snapshots).await.unwrap(), sent);
}

#[tokio::test]
async fn any_order_gives_the_snapshot_or_an_error() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let snapshots = on(&SimFs::new()).0.snapshots();
        let states = [state(1, 3500), state(2, 3500), state(1, 2500)];
        let mut receiver = Receiver::begin(&snapshots).await;
        // Pieces of any of them, then one transfer, which begins again when it is refused.
        for _ in 0..random.below(12) {
            let from = random.choose(&states).clone();
            let n = usize::try_from(random.below(3)).unwrap();
            let _ = receiver.piece(&from, n).await;
        }
        let sent = random.choose(&states).clone();
        let pieces = sent.len().div_ceil(PIECE);
        let mut tries = 0;
        let (mut n, mut whole) = (0, false);
        while !whole {
            match receiver.piece(&sent, n).await {
                Ok(()) => n += 1,
                Err(_) => (n, tries) = (0, tries + 1),
            }
            if n == pieces {
                whole = receiver.data.flush().await.is_ok();
                let end = receiver.data.shutdown().await;
                if end.is_err() {
                    // openraft drops it then, and the next transfer has a new one.
                    (receiver, n, whole, tries) =
                        (Receiver::begin(&snapshots).await, 0, false, tries + 1);
                }
            }
            assert!(tries < 5, "seed {seed}");
        }
        assert_eq!(receiver.finish(&snapshots).await.unwrap(), sent, "seed {seed}");
    }
}

#[tokio::test]
async fn a_snapshot_is_read_at_any_position_and_not_written() {
    let snapshots = on(&SimFs::new()).0.snapshots();
    let sent = state(3, 1_000_000);
    let mut data = snapshots.begin::<Types>().await.unwrap();
    data.write_all(&sent).await.unwrap();
    data.shutdown().await.unwrap();
    data.read_u8().await.unwrap_err();
    let installed = snapshots.install::<Types>(&snapshot_meta(9), data).await.unwrap();
    let mut data = *installed.snapshot;
    assert_eq!(data.seek(SeekFrom::End(0)).await.unwrap(), 1_000_000);
    assert_eq!(data.read(&mut [0; 8]).await.unwrap(), 0);
    let mut random = Random::new(4);
    for _ in 0..100 {
        let at = random.below(1_000_000);
        let len = usize::try_from(random.below(1_000_000 - at) / 3).unwrap();
        data.seek(SeekFrom::Start(at)).await.unwrap();
        let mut read = vec![0; len];
        data.read_exact(&mut read).await.unwrap();
        let at = usize::try_from(at).unwrap();
        assert_eq!(read, sent[at..at + len]);
    }
    data.write_all(b"no").await.unwrap_err();
    assert_eq!(content(data).await, sent);
}
