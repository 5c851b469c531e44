//! Relay tokens whose signature was found right, by their SHA-256: a signature costs a hundred times as much to check
//! as to remember. Knows nothing of what else ends a token; whoever asks looks at that each time.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::digest::{SHA256, digest};

use crate::relay_token::Claims;

/// So many are remembered, and then as many again before the first are forgotten.
const MOST: usize = 8192;

/// The name of a token: it is not kept itself.
type Name = [u8; 32];

/// Tokens that one broker has signed for one relay. Keys that are replaced take their `Verified` with them.
#[derive(Debug, Default)]
pub(super) struct Verified(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Name, Arc<Claims>>,
    old: HashMap<Name, Arc<Claims>>,
}

impl Verified {
    /// The claims of `token`; by `verify`, unless its signature was found right before. What is wrong is not
    /// remembered: anybody can send as much of it as there is.
    pub(super) fn claims(&self, token: &str, verify: impl FnOnce() -> Option<Claims>) -> Option<Arc<Claims>> {
        let name: Name = digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("it has 32 bytes");
        if let Some(known) = self.find(&name) {
            return Some(known);
        }
        let claims = Arc::new(verify()?);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.keep(name, claims.clone());
        Some(claims)
    }

    fn find(&self, name: &Name) -> Option<Arc<Claims>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.young.get(name).or_else(|| kept.old.get(name)).cloned()
    }
}

impl Generations {
    fn keep(&mut self, name: Name, claims: Arc<Claims>) {
        if self.young.len() >= MOST {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(name, claims);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(jti: &str) -> Claims {
        Claims {
            iss: String::new(),
            sub: String::new(),
            aud: String::new(),
            client_id: "page".into(),
            iat: 0,
            exp: 60,
            jti: jti.into(),
            scope: String::new(),
            subject: None,
            proof: String::new(),
            models: Vec::new(),
            file_hosts: None,
            urls: 1,
        }
    }

    #[test]
    fn a_signature_is_checked_once_and_a_wrong_one_each_time() {
        let (verified, mut checks) = (Verified::default(), 0);
        for (token, right) in [("a", true), ("a", true), ("b", false), ("b", false), ("a", true)] {
            let found = verified.claims(token, || {
                checks += 1;
                right.then(|| claims(token))
            });
            assert_eq!(found.map(|found| found.jti.clone()), right.then(|| token.to_owned()));
        }
        assert_eq!(checks, 3, "a once, b twice");
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let verified = Verified::default();
        for number in 0..MOST * 3 {
            verified.claims(&number.to_string(), || Some(claims("x")));
        }
        let kept = verified.0.lock().unwrap();
        assert_eq!((kept.young.len(), kept.old.len()), (MOST, MOST));
        drop(kept);
        let last = (MOST * 3 - 1).to_string();
        assert!(verified.claims(&last, || None).is_some() && verified.claims("0", || None).is_none());
    }
}
