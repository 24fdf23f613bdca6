//! Inclusion and consistency proofs (RFC 6962 §2.1.1, §2.1.2) and their verification (RFC 9162 §2.1.3.2, §2.1.4.2).

use crate::hash::{self, Hash};
use crate::tree::root_of;

/// A tree of 2⁶⁴ leaves has 64 levels; no honest inclusion proof is longer, and no consistency proof longer than that and one.
pub const PROOF_HASHES_MAX: usize = 65;

/// A proof that does not prove what it is said to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the proof does not hold")]
pub struct InvalidProof;

/// Splits at the largest power of two smaller than the number of leaves.
fn split(leaves: &[Hash]) -> (&[Hash], &[Hash]) {
    leaves.split_at_checked(leaves.len().next_power_of_two() / 2).unwrap_or((leaves, &[]))
}

/// Proves that leaf `index` is in the tree over `leaves`; `None` when there is no such leaf.
#[must_use]
pub fn inclusion(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    leaves.get(index)?;
    let mut proof = Vec::new();
    let (mut leaves, mut index) = (leaves, index);
    while leaves.len() > 1 {
        let (left, right) = split(leaves);
        if index < left.len() {
            proof.push(root_of(right));
            leaves = left;
        } else {
            proof.push(root_of(left));
            index -= left.len();
            leaves = right;
        }
    }
    proof.reverse();
    Some(proof)
}

/// Proves that the tree over the first `old` leaves is a prefix of the tree over all; `None` when `old` is 0 or too large.
#[must_use]
pub fn consistency(leaves: &[Hash], old: usize) -> Option<Vec<Hash>> {
    if old == 0 || old > leaves.len() {
        return None;
    }
    let mut proof = Vec::new();
    let (mut leaves, mut old, mut whole) = (leaves, old, true);
    while old != leaves.len() {
        let (left, right) = split(leaves);
        if old <= left.len() {
            proof.push(root_of(right));
            leaves = left;
        } else {
            proof.push(root_of(left));
            old -= left.len();
            leaves = right;
            whole = false;
        }
    }
    if !whole {
        proof.push(root_of(leaves));
    }
    proof.reverse();
    Some(proof)
}

/// Checks an inclusion proof against a root.
///
/// # Errors
/// [`InvalidProof`].
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> Result<(), InvalidProof> {
    if index >= size || proof.len() > PROOF_HASHES_MAX {
        return Err(InvalidProof);
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(InvalidProof);
        }
        if at & 1 == 1 || at == last {
            hash = hash::node(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = hash::node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == *root { Ok(()) } else { Err(InvalidProof) }
}

/// Checks that the tree of size `old` with `old_root` is a prefix of the tree of size `new` with `new_root`.
///
/// # Errors
/// [`InvalidProof`].
pub fn verify_consistency(
    old: u64,
    old_root: &Hash,
    new: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), InvalidProof> {
    if old == new {
        return if proof.is_empty() && old_root == new_root { Ok(()) } else { Err(InvalidProof) };
    }
    if old == 0 || old > new || proof.is_empty() || proof.len() > PROOF_HASHES_MAX {
        return Err(InvalidProof);
    }
    let shift = (old - 1).trailing_ones();
    let (mut at, mut last) = ((old - 1) >> shift, (new - 1) >> shift);
    let mut hashes = proof.iter();
    let start = if old.is_power_of_two() { old_root } else { hashes.next().ok_or(InvalidProof)? };
    let (mut first, mut second) = (*start, *start);
    for sibling in hashes {
        if last == 0 {
            return Err(InvalidProof);
        }
        if at & 1 == 1 || at == last {
            first = hash::node(sibling, &first);
            second = hash::node(sibling, &second);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            second = hash::node(&second, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    if last == 0 && first == *old_root && second == *new_root { Ok(()) } else { Err(InvalidProof) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::{reference_leaves, unhex};

    fn leaves(count: u32) -> Vec<Hash> {
        (0..count).map(|at| hash::leaf(&at.to_be_bytes())).collect()
    }

    #[test]
    fn every_inclusion_proof_holds_and_no_other() {
        let all = leaves(40);
        for size in 1..=all.len() {
            let tree = &all[..size];
            let root = root_of(tree);
            for index in 0..size {
                let proof = inclusion(tree, index).unwrap();
                let check = |leaf: &Hash, index: usize, size: usize, proof: &[Hash], root: &Hash| {
                    verify_inclusion(leaf, index as u64, size as u64, proof, root)
                };
                assert_eq!(check(&tree[index], index, size, &proof, &root), Ok(()));
                assert!(check(&hash::leaf(b"other"), index, size, &proof, &root).is_err());
                assert!(check(&tree[index], index, size, &proof, &[0; 32]).is_err());
                assert!(check(&tree[index], size, size, &proof, &root).is_err());
                for other in (0..size).filter(|other| *other != index) {
                    assert!(check(&tree[index], other, size, &proof, &root).is_err());
                }
                if let Some((_, short)) = proof.split_last() {
                    assert!(check(&tree[index], index, size, short, &root).is_err());
                }
                let long: Vec<Hash> = proof.iter().copied().chain([[1; 32]]).collect();
                assert!(check(&tree[index], index, size, &long, &root).is_err());
            }
            assert_eq!(inclusion(tree, size), None);
        }
    }

    #[test]
    fn every_consistency_proof_holds_and_no_other() {
        let all = leaves(40);
        for new in 1..=all.len() {
            let new_root = root_of(&all[..new]);
            for old in 1..=new {
                let old_root = root_of(&all[..old]);
                let proof = consistency(&all[..new], old).unwrap();
                let check = |old_root: &Hash, new_root: &Hash, proof: &[Hash]| {
                    verify_consistency(old as u64, old_root, new as u64, new_root, proof)
                };
                assert_eq!(check(&old_root, &new_root, &proof), Ok(()), "{old} of {new}");
                assert!(check(&[0; 32], &new_root, &proof).is_err());
                assert!(check(&old_root, &[0; 32], &proof).is_err());
                for at in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[at][0] ^= 1;
                    assert!(check(&old_root, &new_root, &changed).is_err());
                }
            }
            assert_eq!(consistency(&all[..new], 0), None);
            assert_eq!(consistency(&all[..new], new + 1), None);
        }
    }

    /// Proofs printed in the Certificate Transparency reference tests for the same inputs.
    #[test]
    fn reference_proofs() {
        let leaves = reference_leaves();
        let hashes = |texts: &[&str]| texts.iter().map(|text| unhex(text)).collect::<Vec<_>>();
        let proof = inclusion(&leaves, 0).unwrap();
        assert_eq!(
            proof.iter().map(|hash| hash.to_vec()).collect::<Vec<_>>(),
            hashes(&[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ])
        );
        let proof = consistency(&leaves, 6).unwrap();
        assert_eq!(
            proof.iter().map(|hash| hash.to_vec()).collect::<Vec<_>>(),
            hashes(&[
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ])
        );
    }

    proptest::proptest! {
        #[test]
        fn verification_never_panics(index: u64, old: u64, size: u64, proof in proptest::collection::vec(proptest::array::uniform32(0_u8..), 0..80)) {
            let _ = verify_inclusion(&[0; 32], index, size, &proof, &[0; 32]);
            let _ = verify_consistency(old, &[0; 32], size, &[1; 32], &proof);
        }
    }
}
