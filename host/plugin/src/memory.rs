//! Memory of instances: with large pages, kept for the next instance, and made ready for one that will grow.
//!
//! An instance that is given ten megabytes of state touches them for the first time within the stop of an exchange. With new
//! pages of 4 KiB each that is some thousand faults on either side, which take longer than everything else in that stop, and
//! the engine's own memories have no way to ask for anything else: docs/adr/0009-memory-of-instances-is-ours.md.

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

/// A large page, on the machines there are. Memories below are not kept: they are had as fast anew.
const LARGE: usize = 2 << 20;

/// Memories above are not kept: what they would take up while nobody needs them is too much.
const MOST: usize = 32 << 20;

/// Memories kept at most. An exchange needs one a stage; that all stages are exchanged at once is rare.
pub(crate) const KEPT: usize = 4;

type Kept = Mutex<Vec<Mapping>>;

/// Makes the memories of an engine.
#[derive(Default)]
pub(crate) struct Memories {
    kept: Arc<Kept>,
    /// Capacity and guard that were asked for last: those of one engine are all the same.
    asked: Mutex<Option<(usize, usize)>>,
}

impl Memories {
    /// Gives the next memory pages for so many bytes, so that it grows into them without a fault: for who starts an instance
    /// now that is to grow when there is no time for it. Few bytes and very many are left to their faults, as is the first memory of all.
    pub(crate) fn make_ready(&self, bytes: usize) {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((capacity, guard)) = asked.filter(|_| (LARGE..=MOST).contains(&bytes)) else { return };
        let kept = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = kept.iter().enumerate().filter(|(_, mapping)| mapping.fits(capacity, guard));
            let most = fits.max_by_key(|(_, mapping)| mapping.touched).map(|(at, _)| at);
            most.map(|at| kept.swap_remove(at))
        };
        let mapping = kept.map_or_else(|| Mapping::new(capacity, guard), Ok);
        // If there is none to be had, whoever needs it will say so.
        if let Ok(mapping) = mapping.and_then(|mapping| mapping.touch(bytes)) {
            // The last one is taken first.
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(mapping);
        }
    }
}

// SAFETY: see `Region`.
#[allow(unsafe_code, reason = "memory that the engine works on is promised to be as it expects")]
unsafe impl MemoryCreator for Memories {
    fn new_memory(
        &self,
        _: MemoryType,
        minimum: usize,
        _: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        // Always given by this engine: its code leaves out checks because of it.
        let capacity = reserved.ok_or("a memory without a reservation")?.max(minimum);
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some((capacity, guard));
        let kept = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.iter().rposition(|mapping| mapping.fits(capacity, guard)).map(|at| kept.remove(at))
        };
        let mapping = match kept {
            Some(mapping) => mapping,
            None => Mapping::new(capacity, guard).map_err(|error| format!("no room for a memory: {error}"))?,
        };
        let mut region = Region { mapping: Some(mapping), size: 0, kept: Arc::clone(&self.kept) };
        region.grow_to(minimum).map_err(|error| error.to_string())?;
        Ok(Box::new(region))
    }
}

/// A memory: zeros as far as nobody wrote, up to `size`; no access beyond, up to the end of the guard. It never moves.
struct Region {
    /// Always there, until it is dropped.
    mapping: Option<Mapping>,
    size: usize,
    kept: Arc<Kept>,
}

// SAFETY: the addresses stay, growing only makes more of them accessible, and never the guard.
#[allow(unsafe_code, reason = "as for the creator")]
unsafe impl LinearMemory for Region {
    fn byte_size(&self) -> usize {
        self.size
    }

    fn byte_capacity(&self) -> usize {
        self.mapping.as_ref().map_or(0, |mapping| mapping.capacity)
    }

    fn grow_to(&mut self, size: usize) -> wasmtime::Result<()> {
        let Some(mapping) = &self.mapping else { return Ok(()) };
        if size > self.size {
            mapping.allow(self.size, size, MprotectFlags::READ | MprotectFlags::WRITE)?;
            self.size = size;
        }
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.mapping.as_ref().map_or(ptr::null_mut(), |mapping| mapping.base.as_ptr())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let Some(mut mapping) = self.mapping.take() else { return };
        if !(LARGE..=MOST).contains(&self.size) {
            return;
        }
        // SAFETY: these bytes can be written, and nobody has them any more. The next one is to find zeros.
        #[allow(unsafe_code, reason = "the region is known by its address only")]
        unsafe {
            ptr::write_bytes(mapping.base.as_ptr(), 0, self.size);
        }
        mapping.touched = mapping.touched.max(self.size);
        if mapping.allow(0, self.size, MprotectFlags::empty()).is_ok() {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < KEPT {
                kept.push(mapping);
            }
        }
    }
}

/// A range of addresses of its own, without access at first.
struct Mapping {
    start: NonNull<c_void>,
    len: usize,
    /// The first multiple of a large page in it. From here on there are `capacity` bytes and the guard.
    base: NonNull<u8>,
    capacity: usize,
    guard: usize,
    /// Bytes from the first on that were written, and have pages.
    touched: usize,
}

// SAFETY: the addresses belong to the mapping alone; who may use them is what its owner looks after.
#[allow(unsafe_code, reason = "pointers are not sent to other threads unless somebody says that they can be")]
unsafe impl Send for Mapping {}
// SAFETY: as above; nothing is read or written through a shared reference.
#[allow(unsafe_code, reason = "as above")]
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(capacity: usize, guard: usize) -> Result<Mapping, Errno> {
        let len = capacity.checked_add(guard).and_then(|len| len.checked_add(LARGE)).ok_or(Errno::NOMEM)?;
        // SAFETY: a new range that the kernel chooses.
        #[allow(unsafe_code, reason = "mapping has no safe function")]
        let start = unsafe {
            mmap_anonymous(ptr::null_mut(), len, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE)?
        };
        let base = start.wrapping_byte_add(start.addr().next_multiple_of(LARGE) - start.addr());
        let (Some(start), Some(base)) = (NonNull::new(start), NonNull::new(base.cast())) else {
            return Err(Errno::NOMEM);
        };
        let mapping = Mapping { start, len, base, capacity, guard, touched: 0 };
        // SAFETY: advice about the mapping's own addresses. A kernel without large pages says no, and that is all right.
        #[allow(unsafe_code, reason = "advice has no safe function")]
        unsafe { madvise(base.as_ptr().cast(), capacity, Advice::LinuxHugepage) }.unwrap_or_default();
        Ok(mapping)
    }

    fn fits(&self, capacity: usize, guard: usize) -> bool {
        self.capacity == capacity && self.guard == guard
    }

    /// Has the system give pages for so many bytes, which are zeros, of a mapping that nobody uses.
    fn touch(mut self, bytes: usize) -> Result<Mapping, Errno> {
        if bytes > self.touched {
            self.allow(0, bytes, MprotectFlags::READ | MprotectFlags::WRITE)?;
            // SAFETY: these bytes can be written, and nobody has them. They are zeros already.
            #[allow(unsafe_code, reason = "the mapping is known by its address only")]
            unsafe {
                ptr::write_bytes(self.base.as_ptr().byte_add(self.touched), 0, bytes - self.touched);
            }
            self.allow(0, bytes, MprotectFlags::empty())?;
            self.touched = bytes;
        }
        Ok(self)
    }

    /// Sets the access to the bytes of the memory from one on and before another.
    fn allow(&self, from: usize, to: usize, access: MprotectFlags) -> Result<(), Errno> {
        if from > to || to > self.capacity {
            return Err(Errno::NOMEM);
        }
        // SAFETY: within the mapping, before its guard.
        #[allow(unsafe_code, reason = "protection has no safe function")]
        unsafe {
            mprotect(self.base.as_ptr().byte_add(from).cast(), to - from, access)
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and used by nobody after the memory is gone.
        #[allow(unsafe_code, reason = "unmapping has no safe function")]
        unsafe { munmap(self.start.as_ptr(), self.len) }.unwrap_or_default();
    }
}

#[cfg(test)]
#[allow(unsafe_code, reason = "a memory is known by its address only")]
mod tests {
    use super::*;

    const CAPACITY: usize = 64 << 20;

    fn memory(memories: &Memories, bytes: usize) -> Box<dyn LinearMemory> {
        let ty = MemoryType::new(1, None);
        memories.new_memory(ty, bytes, None, Some(CAPACITY), 64 << 10).unwrap()
    }

    fn bytes(memory: &mut dyn LinearMemory) -> &mut [u8] {
        // SAFETY: as many as it says, and nobody else has them.
        unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), memory.byte_size()) }
    }

    #[test]
    fn a_memory_is_zeros_and_stays_where_it_is() {
        let mut memory = memory(&Memories::default(), 64 << 10);
        bytes(&mut *memory).fill(7);
        let at = memory.as_ptr();
        memory.grow_to(8 << 20).unwrap();
        assert_eq!((memory.as_ptr(), memory.byte_size(), memory.byte_capacity()), (at, 8 << 20, CAPACITY));
        let (old, new) = bytes(&mut *memory).split_at(64 << 10);
        assert!(old.iter().all(|byte| *byte == 7) && new.iter().all(|byte| *byte == 0));
        assert!(memory.grow_to(CAPACITY + 1).is_err());
        assert_eq!(memory.byte_size(), 8 << 20);
    }

    #[test]
    fn a_memory_of_some_size_is_kept_and_comes_again_as_zeros() {
        let memories = Memories::default();
        let kept = || memories.kept.lock().unwrap().len();
        let mut large = memory(&memories, 8 << 20);
        let at = large.as_ptr();
        bytes(&mut *large).fill(7);
        drop(large);
        assert_eq!(kept(), 1);
        let mut again = memory(&memories, 64 << 10);
        assert_eq!((again.as_ptr(), kept()), (at, 0));
        again.grow_to(16 << 20).unwrap();
        assert!(bytes(&mut *again).iter().all(|byte| *byte == 0));
        // Small ones and huge ones are given back at once, and so are more than a few.
        drop(memory(&memories, 64 << 10));
        drop(memory(&memories, MOST + (64 << 10)));
        assert_eq!(kept(), 0);
        drop((0..2 * KEPT).map(|_| memory(&memories, LARGE)).collect::<Vec<_>>());
        assert_eq!(kept(), KEPT);
    }

    #[test]
    fn the_next_memory_is_ready_to_grow_and_no_other() {
        let memories = Memories::default();
        let kept = || memories.kept.lock().unwrap().iter().map(|mapping| mapping.touched).collect::<Vec<_>>();
        memories.make_ready(8 << 20);
        assert_eq!(kept(), [0; 0], "nobody knows yet what memories are like");
        drop(memory(&memories, 64 << 10));
        memories.make_ready(64 << 10);
        memories.make_ready(MOST + 1);
        assert_eq!(kept(), [0; 0]);
        memories.make_ready(8 << 20);
        assert_eq!(kept(), [8 << 20]);
        let mut ready = memory(&memories, 64 << 10);
        assert_eq!(kept(), [0; 0]);
        bytes(&mut *ready).fill(7);
        ready.grow_to(8 << 20).unwrap();
        assert!(bytes(&mut *ready)[64 << 10..].iter().all(|byte| *byte == 0));
        drop(ready);
        // The one that needs least for it is made ready, and nothing if it is.
        drop(memory(&memories, 64 << 10));
        let small = memory(&memories, LARGE);
        drop(memory(&memories, 8 << 20));
        drop(small);
        memories.make_ready(4 << 20);
        assert_eq!(kept(), [LARGE, 8 << 20]);
        memories.make_ready(16 << 20);
        assert_eq!(kept(), [LARGE, 16 << 20]);
    }

    #[test]
    fn one_of_another_size_is_not_taken() {
        let memories = Memories::default();
        drop(memory(&memories, LARGE));
        let ty = MemoryType::new(1, None);
        let other = memories.new_memory(ty, LARGE, None, Some(CAPACITY / 2), 64 << 10).unwrap();
        assert_eq!(other.byte_capacity(), CAPACITY / 2);
        assert!(memories.new_memory(MemoryType::new(1, None), LARGE, None, Some(usize::MAX), 1).is_err());
    }
}
