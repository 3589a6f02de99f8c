//! Buffers between batches: what a finished batch held is what the next one is filled into.

use std::sync::{Arc, Mutex, PoisonError};

use crate::Column;

/// Buffers of each width that are kept; more are freed. A batch has about 40 columns, so this
/// serves some ten batches in flight.
const MAX_KEPT: usize = 256;

/// Values a kept buffer may hold; a longer one is freed, so that one large batch does not stay in
/// memory for ever.
const MAX_KEPT_LEN: usize = 1 << 16;

/// A shared store of empty buffers. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Pool(Arc<Mutex<Free>>);

#[derive(Debug, Default)]
struct Free {
    u8s: Vec<Vec<u8>>,
    u16s: Vec<Vec<u16>>,
    u32s: Vec<Vec<u32>>,
    u64s: Vec<Vec<u64>>,
}

/// A width that the pool keeps buffers of.
pub(crate) trait Pooled: Sized {
    /// Takes an empty buffer, with the capacity it had before.
    fn take(pool: &Pool) -> Vec<Self>;
}

macro_rules! pooled {
    ($($type:ty => $list:ident),*) => {$(
        impl Pooled for $type {
            fn take(pool: &Pool) -> Vec<$type> {
                pool.0.lock().unwrap_or_else(PoisonError::into_inner).$list.pop().unwrap_or_default()
            }
        }
    )*};
}
pooled!(u8 => u8s, u16 => u16s, u32 => u32s, u64 => u64s);

fn keep<T>(list: &mut Vec<Vec<T>>, mut values: Vec<T>) {
    if list.len() < MAX_KEPT && values.capacity() <= MAX_KEPT_LEN {
        values.clear();
        list.push(values);
    }
}

fn keep_own<T>(list: &mut Vec<Vec<T>>, values: Arc<Vec<T>>) {
    if let Some(values) = Arc::into_inner(values) {
        keep(list, values);
    }
}

impl Pool {
    /// An empty buffer of 64-bit values, with the capacity of a former one.
    #[must_use]
    pub fn u64s(&self) -> Vec<u64> {
        u64::take(self)
    }

    /// An empty buffer of 32-bit values.
    #[must_use]
    pub fn u32s(&self) -> Vec<u32> {
        u32::take(self)
    }

    /// An empty buffer of 16-bit values.
    #[must_use]
    pub fn u16s(&self) -> Vec<u16> {
        u16::take(self)
    }

    /// An empty buffer of bytes.
    #[must_use]
    pub fn u8s(&self) -> Vec<u8> {
        u8::take(self)
    }

    /// Takes back the buffers of columns that nobody else holds, of text those of the codes; lists are freed.
    pub fn recycle(&self, columns: impl Iterator<Item = Column>) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for column in columns {
            match column {
                Column::U8(values) => keep_own(&mut free.u8s, values),
                Column::U16(values) => keep_own(&mut free.u16s, values),
                Column::U32(values) => keep_own(&mut free.u32s, values),
                Column::U64(values) => keep_own(&mut free.u64s, values),
                Column::Text(texts) => {
                    if let Some(texts) = Arc::into_inner(texts) {
                        keep(&mut free.u32s, texts.codes);
                    }
                }
                Column::Lists(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Texts;

    #[test]
    fn a_recycled_buffer_is_handed_out_again_and_a_shared_one_is_not() {
        let pool = Pool::default();
        let values = Arc::new(vec![1_u64; 100]);
        let shared = Column::U64(Arc::clone(&values));
        pool.recycle([shared].into_iter());
        assert_eq!(pool.u64s().capacity(), 0);

        let address = values.as_ptr();
        pool.recycle([Column::U64(values)].into_iter());
        let again = pool.u64s();
        assert!(again.is_empty() && again.capacity() >= 100);
        assert_eq!(again.as_ptr(), address);

        let texts = Texts { words: vec!["".into()], codes: vec![0; 100] };
        let address = texts.codes.as_ptr();
        pool.recycle([Column::Text(Arc::new(texts))].into_iter());
        let codes = pool.u32s();
        assert_eq!(codes.as_ptr(), address);
    }
}
