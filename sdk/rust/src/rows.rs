//! Loops over rows, eight at a turn.
//!
//! At every turn of a loop a plugin looks whether its time is up, and what the loop had in registers it puts down for that. A
//! short loop over rows takes half again as long for it, with eight rows a turn nearly none. The compiler does that by itself
//! where the body is small and calls nothing; these functions do it for any body, which they have nine times in the code.

/// Rows of a turn.
const TURN: usize = 8;

/// Calls `f` with each value.
#[inline(always)]
pub fn each<A>(a: &mut [A], mut f: impl FnMut(&mut A)) {
    let (whole, rest) = a.as_chunks_mut::<TURN>();
    for a in whole {
        for a in a {
            f(a);
        }
    }
    for a in rest {
        f(a);
    }
}

/// Calls `f` with the number of each row and its value.
#[inline(always)]
pub fn numbered<A>(a: &[A], mut f: impl FnMut(usize, &A)) {
    let (whole, rest) = a.as_chunks::<TURN>();
    for (turn, a) in whole.iter().enumerate() {
        a.iter().zip(turn * TURN..).for_each(|(a, row)| f(row, a));
    }
    rest.iter().zip(whole.len() * TURN..).for_each(|(a, row)| f(row, a));
}

/// Calls `f` with each row of two columns, as far as both have it.
#[inline(always)]
pub fn each2<A, B>(a: &mut [A], b: &[B], mut f: impl FnMut(&mut A, &B)) {
    let rows = a.len().min(b.len());
    let (a, a_rest) = a[..rows].as_chunks_mut::<TURN>();
    let (b, b_rest) = b[..rows].as_chunks::<TURN>();
    for (a, b) in a.iter_mut().zip(b) {
        a.iter_mut().zip(b).for_each(|(a, b)| f(a, b));
    }
    a_rest.iter_mut().zip(b_rest).for_each(|(a, b)| f(a, b));
}

/// Calls `f` with each row of three columns, as far as all have it.
#[inline(always)]
pub fn each3<A, B, C>(a: &mut [A], b: &[B], c: &[C], mut f: impl FnMut(&mut A, &B, &C)) {
    let rows = a.len().min(b.len()).min(c.len());
    let (a, a_rest) = a[..rows].as_chunks_mut::<TURN>();
    let (b, b_rest) = b[..rows].as_chunks::<TURN>();
    let (c, c_rest) = c[..rows].as_chunks::<TURN>();
    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
        a.iter_mut().zip(b).zip(c).for_each(|((a, b), c)| f(a, b, c));
    }
    a_rest.iter_mut().zip(b_rest).zip(c_rest).for_each(|((a, b), c)| f(a, b, c));
}

/// Calls `f` with each row of four columns, as far as all have it.
#[inline(always)]
pub fn each4<A, B, C, D>(a: &mut [A], b: &[B], c: &[C], d: &[D], mut f: impl FnMut(&mut A, &B, &C, &D)) {
    let rows = a.len().min(b.len()).min(c.len()).min(d.len());
    let (a, a_rest) = a[..rows].as_chunks_mut::<TURN>();
    let (b, b_rest) = b[..rows].as_chunks::<TURN>();
    let (c, c_rest) = c[..rows].as_chunks::<TURN>();
    let (d, d_rest) = d[..rows].as_chunks::<TURN>();
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        a.iter_mut().zip(b).zip(c).zip(d).for_each(|(((a, b), c), d)| f(a, b, c, d));
    }
    a_rest.iter_mut().zip(b_rest).zip(c_rest).zip(d_rest).for_each(|(((a, b), c), d)| f(a, b, c, d));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_comes_once_and_in_order() {
        for rows in [0, 1, 7, 8, 9, 16, 23] {
            let (b, c, d): (Vec<u32>, Vec<u16>, Vec<u8>) = ((0..rows).collect(), vec![2; 30], vec![3; 20]);
            let mut seen = Vec::new();
            let mut a = vec![1u64; rows as usize];
            each(&mut a, |a| *a += 1);
            each2(&mut a, &b, |a, b| *a += u64::from(*b));
            each3(&mut a, &b, &c, |a, _, c| *a += u64::from(*c));
            each4(&mut a, &b, &c, &d, |a, b, _, d| {
                seen.push(*b);
                *a += u64::from(*d);
            });
            let mut numbers = Vec::new();
            numbered(&b, |row, b| numbers.push((row as u32, *b)));
            assert_eq!(numbers, (0..rows).map(|row| (row, row)).collect::<Vec<_>>());
            let expected: Vec<u64> =
                (0..u64::from(rows)).map(|row| 2 + row + 2 + if row < 20 { 3 } else { 0 }).collect();
            assert_eq!(a, expected);
            assert_eq!(seen, b[..b.len().min(20)]);
        }
    }
}
