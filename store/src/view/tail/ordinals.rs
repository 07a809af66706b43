//! The ordinals of a stream's events in a tail: a few without memory of their own, as most streams have few.

const FEW: usize = 4;

/// Ascending ordinals.
#[derive(Clone, Debug)]
pub(super) enum Ordinals {
    /// The first `count` of the ordinals.
    Few {
        count: u8,
        ordinals: [u32; FEW],
    },
    Many(Vec<u32>),
}

impl Default for Ordinals {
    fn default() -> Ordinals {
        Ordinals::Few { count: 0, ordinals: [0; FEW] }
    }
}

impl Ordinals {
    pub(super) fn as_slice(&self) -> &[u32] {
        match self {
            Ordinals::Few { count, ordinals } => {
                ordinals.get(..usize::from(*count)).unwrap_or_default()
            }
            Ordinals::Many(ordinals) => ordinals,
        }
    }

    /// Adds an ordinal above all others.
    pub(super) fn push(&mut self, ordinal: u32) {
        match self {
            Ordinals::Few { count, ordinals } => {
                if let Some(place) = ordinals.get_mut(usize::from(*count)) {
                    *place = ordinal;
                    *count += 1;
                } else {
                    let mut many = Vec::with_capacity(FEW * 2);
                    many.extend_from_slice(ordinals);
                    many.push(ordinal);
                    *self = Ordinals::Many(many);
                }
            }
            Ordinals::Many(ordinals) => ordinals.push(ordinal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_stay_in_order_when_they_become_many() {
        let mut ordinals = Ordinals::default();
        for count in 0..20 {
            assert_eq!(ordinals.as_slice(), (0..count).collect::<Vec<_>>());
            ordinals.push(count);
        }
    }
}
