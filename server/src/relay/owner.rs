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
}

/// The app of an owner, of its bytes.
pub(super) fn app_of(owner: &[u8]) -> Option<&str> {
    let (length, rest) = owner.strip_prefix(&[1])?.split_first_chunk::<4>()?;
    std::str::from_utf8(rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?).ok()
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
            prop_assert_eq!(app_of(&bytes), Some(&*one.app));
        }
    }
}
