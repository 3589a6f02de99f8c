//! A machine that loses its power: of what was written since the last flush, the disk has any part.

use std::collections::BTreeSet;
use std::sync::Arc;

use redb::StorageBackend;

use super::*;

/// A disk in memory, with a power switch.
#[derive(Debug, Default)]
struct Disk {
    /// What the process reads.
    seen: Vec<u8>,
    /// What has been flushed.
    flushed: Vec<u8>,
    /// What has been written since: offset and bytes, or a new length.
    written: Vec<Written>,
    /// Operations until the power goes.
    left: u64,
}

#[derive(Clone, Debug)]
enum Written {
    Bytes(u64, Vec<u8>),
    Length(u64),
}

#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Disk>>);

impl Shared {
    /// The disk, if it still has power.
    fn disk(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.0.lock().unwrap();
        disk.left = disk.left.saturating_sub(1);
        if disk.left == 0 { Err(io::Error::other("no power")) } else { Ok(disk) }
    }
}

fn apply(image: &mut Vec<u8>, written: &Written) {
    match written {
        Written::Length(length) => image.resize(*length as usize, 0),
        Written::Bytes(offset, bytes) => {
            let end = *offset as usize + bytes.len();
            image.resize(image.len().max(end), 0);
            image[*offset as usize..end].copy_from_slice(bytes);
        }
    }
}

impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        out.copy_from_slice(&disk.seen[offset as usize..offset as usize + out.len()]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut disk = self.disk()?;
        apply(&mut disk.seen, &Written::Length(length));
        disk.written.push(Written::Length(length));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.disk()?;
        let written = Written::Bytes(offset, data.to_vec());
        apply(&mut disk.seen, &written);
        disk.written.push(written);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk()?;
        disk.flushed = disk.seen.clone();
        disk.written.clear();
        Ok(())
    }
}

/// What is on the disk when the power comes back: of the blocks written since the last flush some are
/// there and some are not, whatever the order they were written in.
fn after_the_loss(disk: &Disk, random: &mut Random) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut image = disk.flushed.clone();
    for written in &disk.written {
        match written {
            // A file system changes lengths in order.
            Written::Length(_) => apply(&mut image, written),
            Written::Bytes(offset, bytes) => {
                for (number, block) in bytes.chunks(BLOCK).enumerate() {
                    if random.below(2) == 0 {
                        apply(&mut image, &Written::Bytes(offset + (number * BLOCK) as u64, block.to_vec()));
                    }
                }
            }
        }
    }
    image
}

#[test]
fn what_was_acknowledged_survives_a_loss_of_power() {
    let mut moments = BTreeSet::new();
    for seed in 0..150 {
        let (_folder, path) = folder();
        drop(DiskQueue::open(&path, 16 << 20).unwrap());
        let image = fs::read(&path).unwrap();
        let mut random = Random(seed);
        let left = 30 + random.below(400);
        let disk = Disk { seen: image.clone(), flushed: image, written: Vec::new(), left };
        let disk = Shared(Arc::new(Mutex::new(disk)));
        let shared = disk.clone();
        let opener = move |_: &Path| store::builder().create_with_backend(shared.clone());
        let Ok(queue) = DiskQueue::open_with(&path, 16 << 20, Box::new(opener)) else { continue };

        let bytes = |number: u64| number.to_le_bytes().repeat(1 + Random(number).below(10_000) as usize);
        let (mut pushed, mut removed) = (0, 0);
        loop {
            let entry = bytes(pushed + 1);
            if queue.push(&[Entry { rows: 1, bytes: &entry }]).is_err() {
                break;
            }
            pushed += 1;
            if random.below(3) == 0 {
                let Ok(found) = queue.peek(None, 2) else { break };
                let gone = removed + found.len() as u64;
                if found.is_empty() || queue.remove_through(found[found.len() - 1].seq).is_err() {
                    break;
                }
                removed = gone;
            }
        }
        drop(queue);
        let image = after_the_loss(&disk.0.lock().unwrap(), &mut random);
        fs::write(&path, image).unwrap();

        let queue = DiskQueue::open(&path, 16 << 20).unwrap();
        let found = queue.peek(None, usize::MAX).unwrap();
        let numbers: Vec<_> =
            found.iter().map(|entry| u64::from_le_bytes(entry.bytes[..8].try_into().unwrap())).collect();
        // The call that was under way may have been done, and removed up to two.
        let first = numbers.first().copied().unwrap_or(removed + 1);
        assert!(numbers.iter().copied().eq(first..first + numbers.len() as u64), "{seed}: {numbers:?}");
        assert!((removed + 1..=removed + 3).contains(&first), "{seed}: {first}, removed {removed}");
        let last = first + numbers.len() as u64 - 1;
        assert!(last == pushed || last == pushed + 1 || numbers.is_empty(), "{seed}: {last}, pushed {pushed}");
        assert!(found.iter().zip(&numbers).all(|(entry, number)| entry.bytes == bytes(*number)), "{seed}");
        assert_eq!(queue.len(), numbers.len() as u64, "{seed}");
        moments.insert(left);
    }
    assert!(moments.len() > 50, "only {} moments were tried", moments.len());
}
