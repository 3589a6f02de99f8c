//! Groups of rows by small numbers, such as those of protocols, ports and customers: a number is its own place.

/// Numbers below this have a place. Of the places only those of numbers that occur are touched.
const PLACES: usize = 1 << 16;

/// From number to group.
#[derive(Debug)]
pub(super) struct Small {
    /// By number its group and 1, or 0.
    places: Box<[u32]>,
    /// By group.
    numbers: Vec<u64>,
}

impl Default for Small {
    fn default() -> Small {
        Small { places: vec![0; PLACES].into(), numbers: Vec::new() }
    }
}

impl Small {
    /// By group its number.
    pub(super) fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// Numbers the rows by their values, up to the first that is not small, and returns which row that is. `of_rows` has as many
    /// as there are values.
    pub(super) fn sort<T: Copy + Into<u64>>(
        &mut self,
        values: &[T],
        of_rows: &mut [u32],
        firsts: &mut Vec<u32>,
    ) -> usize {
        for number in self.numbers.drain(..) {
            self.places[number as usize] = 0;
        }
        let mut rows = values.iter().zip(of_rows).enumerate();
        loop {
            let places: &[u32] = &self.places;
            // As long as groups are known, the places stay as they are, and what the loop needs stays in registers.
            let new = rows.by_ref().find_map(|(row, (value, group))| {
                let value = (*value).into();
                let place = usize::try_from(value).ok().and_then(|at| places.get(at)).copied().unwrap_or_default();
                *group = place.wrapping_sub(1);
                (place == 0).then_some((row, value, group))
            });
            let Some((row, value, group)) = new else { return values.len() };
            let Some(place) = usize::try_from(value).ok().and_then(|at| self.places.get_mut(at)) else { return row };
            *group = firsts.len() as u32;
            *place = *group + 1;
            firsts.push(row as u32);
            self.numbers.push(value);
        }
    }
}
