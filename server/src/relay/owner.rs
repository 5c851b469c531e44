//! Whose tasks: an app's, or one of its end users'. A caller without a subject owns only what was submitted
//! without one.

use std::sync::Arc;

use crate::identity::Subject;

/// The owner of tasks.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Owner {
    /// The app.
    pub app: Arc<str>,
    /// The end user, if it is for one.
    pub subject: Option<Subject>,
}

impl Owner {
    /// Bytes that no other owner has: each part stands behind its length.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let subject = self.subject.as_ref();
        let issuer = subject.and_then(|subject| subject.issuer.as_deref());
        let parts = [Some(&*self.app), issuer, subject.map(|subject| &*subject.name)];
        let mut bytes = Vec::new();
        for part in parts {
            // What is missing is not what is empty.
            bytes.push(u8::from(part.is_some()));
            let part = part.unwrap_or_default().as_bytes();
            bytes.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend(part);
        }
        bytes
    }

    /// The owner of such bytes.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let (app, rest) = part(bytes)?;
        let (issuer, rest) = part(rest)?;
        let (name, _) = part(rest)?;
        let subject = name.map(|name| Subject { issuer: issuer.map(Arc::from), name: name.into() });
        Some(Self { app: app?.into(), subject })
    }
}

/// The part that `bytes` begin with, if it is there, and what follows.
fn part(bytes: &[u8]) -> Option<(Option<&str>, &[u8])> {
    let (is_there, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (text, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let text = std::str::from_utf8(text).ok()?;
    Some(((*is_there == 1).then_some(text), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owner() -> impl Strategy<Value = Owner> {
        let subject = (prop::option::of("[ab]{0,2}"), "[ab]{0,2}").prop_map(|(issuer, name)| Subject {
            issuer: issuer.map(|issuer| issuer.as_str().into()),
            name: name.as_str().into(),
        });
        ("[ab]{0,2}", prop::option::of(subject))
            .prop_map(|(app, subject)| Owner { app: app.as_str().into(), subject })
    }

    proptest! {
        #[test]
        fn two_owners_never_have_the_same_bytes(one in owner(), other in owner()) {
            let bytes = one.bytes();
            prop_assert_eq!(one == other, bytes == other.bytes());
            prop_assert_eq!(Owner::of(&bytes), Some(one));
        }
    }
}
