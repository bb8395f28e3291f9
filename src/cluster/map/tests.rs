use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Many keys have the same hint.
impl Key for u16 {
    fn hint(&self) -> u64 {
        u64::from(*self / 7)
    }
}

fn same(map: &Map<u16, u32>, model: &BTreeMap<u16, u32>) {
    assert!(map.iter().eq(model.iter()) && map.len() == model.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// As the standard library's, and copies stay what they were.
    #[test]
    fn it_is_a_map(
        start in 0..3000_u16,
        steps in prop::collection::vec((any::<bool>(), 0..3000_u16, any::<u32>()), 0..3000),
    ) {
        let mut model: BTreeMap<_, _> = (0..start).map(|key| (key, 0)).collect();
        let mut map = Map::from_sorted(model.clone().into_iter().collect());
        let mut copies = Vec::new();
        for (at, (insert, key, value)) in steps.into_iter().enumerate() {
            if at % 500 == 0 {
                copies.push((map.clone(), model.clone()));
            }
            if insert {
                prop_assert_eq!(map.insert(key, value), model.insert(key, value));
            } else {
                prop_assert_eq!(map.remove(&key), model.remove(&key));
            }
            prop_assert_eq!(map.get(&key), model.get(&key));
            if let Some(value) = map.get_mut(&(key / 2)) {
                *value += u32::from(*value < u32::MAX);
                let other = model.get_mut(&(key / 2)).unwrap();
                *other += u32::from(*other < u32::MAX);
            }
        }
        same(&map, &model);
        copies.iter().for_each(|(map, model)| same(map, model));
        for key in model.keys() {
            map.remove(key);
        }
        prop_assert!(map.is_empty() && map.iter().next().is_none());
    }
}
