//! Images that are there more than once.

use serde::Serialize;

/// Where images with the same bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Among {
    /// Two parts have the image: what is tested was trained on.
    Parts,
    /// Two identities of a part have it: one of the labels is wrong.
    Identities,
    /// One identity has it twice.
    Identity,
}

/// One image of a data source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub part: usize,
    pub label: i64,
    /// Position in the part.
    pub index: u32,
}

/// Images with the same bytes, in the order of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub among: Among,
    pub places: Vec<Place>,
}

/// The groups of two or more with the same hash, the worst first. `names_of` gives the identity of a
/// place, for parts may have label maps of their own.
pub fn groups<'a>(
    mut images: Vec<([u8; 16], Place)>,
    names_of: impl Fn(&Place) -> &'a str,
) -> Vec<Group> {
    images.sort_unstable();
    let equal = images.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1);
    let mut groups: Vec<Group> = equal
        .map(|group| {
            let places: Vec<Place> = group.iter().map(|(_, place)| *place).collect();
            let first = &places[0];
            let among = if places.iter().any(|place| place.part != first.part) {
                Among::Parts
            } else if places.iter().any(|place| names_of(place) != names_of(first)) {
                Among::Identities
            } else {
                Among::Identity
            };
            Group { among, places }
        })
        .collect();
    groups.sort_by(|a, b| (a.among, &a.places).cmp(&(b.among, &b.places)));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first() {
        let image = |hash: u8, part, label, index| ([hash; 16], Place { part, label, index });
        let images = vec![
            image(1, 0, 0, 0),
            image(2, 0, 0, 1),
            image(2, 0, 0, 2),
            image(3, 0, 1, 3),
            image(3, 0, 2, 4),
            image(4, 0, 1, 5),
            image(4, 1, 1, 0),
            image(4, 0, 1, 6),
        ];
        let names = ["a", "b", "c"];
        let groups = groups(images, |place| names[place.label as usize]);
        let told: Vec<_> = groups.iter().map(|group| (group.among, group.places.len())).collect();
        assert_eq!(told, [(Among::Parts, 3), (Among::Identities, 2), (Among::Identity, 2)]);
        assert_eq!(groups[0].places[2], Place { part: 1, label: 1, index: 0 });
    }
}
