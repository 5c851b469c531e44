//! The keys that Valet makes for itself: they sign relay tokens and seal handles. They lie in one file, so that
//! every process that has it accepts what any other has given out.

use std::{
    fmt, io,
    os::unix::fs::{MetadataExt, fchown},
    path::Path,
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
    signature::{Ed25519KeyPair, KeyPair},
};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use jsonwebtoken::EncodingKey;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::jwt::KeySet;

/// The file of keys, in the folder of the broker's state.
pub const FILE: &str = "keys.json";
/// How long a key is accepted after another has taken its place: as long as a handle is good.
const OVERLAP: Duration = Duration::from_secs(72 * 3600);
/// How long after it was made a new key begins to be used: by then every process has read it.
pub const NOTICE: Duration = Duration::from_secs(60);

/// Keys of both kinds, each kind in the order in which they are used.
pub struct Keyring {
    keys: Vec<Key>,
    public: KeySet,
}

/// How the keys of two processes stand to each other.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Agreement {
    /// Each accepts what the other gives out.
    Full,
    /// The same, but one will soon use a key that the other has not.
    ForNow,
    /// One gives out what the other does not accept.
    None,
}

/// A generation of keys: one that signs, one that seals, made of one seed.
struct Key {
    id: String,
    /// When it begins to be used, in Unix time.
    from: Duration,
    seed: SecretBox<[u8; 32]>,
    signing: EncodingKey,
    jwk: Value,
}

/// A key that signs.
#[derive(Clone, Copy)]
pub struct Signing<'k> {
    /// Its name in the JWK set.
    pub id: &'k str,
    /// The key.
    pub key: &'k EncodingKey,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    keys: Vec<FileKey>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct FileKey {
    /// Unix seconds.
    from: u64,
    seed: String,
}

impl Keyring {
    /// One generation of keys, in use from `now` on.
    #[must_use]
    pub fn generate(now: Duration) -> Self {
        Self::of(vec![Key::generate(now)]).expect("a new key is one")
    }

    /// Reads the text of a file of keys.
    ///
    /// # Errors
    /// What is wrong with it; never what is in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |_| "is no file of keys that Valet has written".to_owned();
        let file: File = serde_json::from_str(text).map_err(wrong)?;
        let key = |key: &FileKey| {
            let seed = BASE64URL_NOPAD.decode(key.seed.as_bytes()).ok()?;
            Key::of(Duration::from_secs(key.from), seed.try_into().ok()?)
        };
        let keys: Option<Vec<Key>> = file.keys.iter().map(key).collect();
        let mut keys = keys.filter(|keys| !keys.is_empty()).ok_or("has a key that is none, or no key")?;
        keys.sort_by_key(|key| key.from);
        Self::of(keys)
    }

    fn of(keys: Vec<Key>) -> Result<Self, String> {
        let jwks = json!({ "keys": keys.iter().map(|key| &key.jwk).collect::<Vec<_>>() });
        let public = KeySet::parse(jwks.to_string().as_bytes())?;
        Ok(Self { keys, public })
    }

    /// The text of a file of these keys.
    #[must_use]
    pub fn text(&self) -> SecretString {
        let key = |key: &Key| FileKey {
            from: key.from.as_secs(),
            seed: BASE64URL_NOPAD.encode(key.seed.expose_secret()),
        };
        let file = File { keys: self.keys.iter().map(key).collect() };
        serde_json::to_string_pretty(&file).expect("plain fields serialize").into()
    }

    /// These keys and a new generation, which is used after [`NOTICE`]; without those whose time is over.
    #[must_use]
    pub fn rotated(&self, now: Duration) -> Self {
        let mut keys: Vec<Key> = self.keys.iter().map(Key::copy).collect();
        // One is over once its successor has been in use for long enough.
        let over = keys.iter().skip(1).take_while(|next| next.from + OVERLAP <= now).count();
        keys.drain(..over);
        keys.push(Key::generate(now + NOTICE));
        Self::of(keys).expect("these are keys")
    }

    fn used(&self, now: Duration) -> &Key {
        // The first of all, if time went backwards: there is always one.
        self.keys.iter().rev().find(|key| key.from <= now).unwrap_or(&self.keys[0])
    }

    /// The key to sign with.
    #[must_use]
    pub fn signing(&self, now: Duration) -> Signing<'_> {
        let key = self.used(now);
        Signing { id: &key.id, key: &key.signing }
    }

    /// The key to seal with, and its name.
    #[must_use]
    pub fn sealing(&self, now: Duration) -> ([u8; 4], [u8; 32]) {
        let key = self.used(now);
        (key.short_id(), key.sealing())
    }

    /// The key of a name that something was sealed with.
    #[must_use]
    pub fn sealing_by(&self, id: &[u8]) -> Option<[u8; 32]> {
        self.keys.iter().find(|key| key.short_id() == id).map(Key::sealing)
    }

    /// The keys that signatures are accepted of.
    #[must_use]
    pub fn public(&self) -> &KeySet {
        &self.public
    }

    /// The same as a JWK set (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({ "keys": self.keys.iter().map(|key| &key.jwk).collect::<Vec<_>>() })
    }

    /// The names of the generations, oldest first, and since when each is used, in Unix time.
    pub fn generations(&self) -> impl Iterator<Item = (&str, Duration)> {
        self.keys.iter().map(|key| (key.id.as_str(), key.from))
    }

    /// The names of the generations and since when each is used, to be told to other processes.
    #[must_use]
    pub fn told(&self) -> String {
        let told: Vec<_> = self.generations().map(|(id, from)| format!("{id}@{}", from.as_secs())).collect();
        told.join(" ")
    }

    /// How these keys stand to those that another process told of.
    #[must_use]
    pub fn agreement(&self, told: &str, now: Duration) -> Agreement {
        let parse = |key: &str| {
            let (id, from) = key.split_once('@')?;
            Some((id.to_owned(), Duration::from_secs(from.parse().ok()?)))
        };
        let theirs: Vec<_> = told.split(' ').filter_map(parse).collect();
        let used = theirs.iter().rev().find(|(_, from)| *from <= now).or(theirs.first());
        let mine = |id: &str| self.keys.iter().any(|key| key.id == id);
        let is_known = |id: &str| theirs.iter().any(|(known, _)| known == id);
        if !used.is_some_and(|(id, _)| mine(id)) || !is_known(&self.used(now).id) {
            return Agreement::None;
        }
        let is_one_to_come = |from: Duration| from > now;
        let theirs_to_come = theirs.iter().filter(|(_, from)| is_one_to_come(*from)).all(|(id, _)| mine(id));
        let to_come = self.keys.iter().filter(|key| is_one_to_come(key.from)).all(|key| is_known(&key.id));
        if theirs_to_come && to_come { Agreement::Full } else { Agreement::ForNow }
    }

    /// Reads the file of keys in a folder.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let text = SecretString::from(std::fs::read_to_string(folder.join(FILE))?);
        Self::parse(text.expose_secret()).map_err(io::Error::other)
    }

    /// Writes the file of keys into a folder, readable by its owner alone, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        io::Write::write_all(&mut file, self.text().expose_secret().as_bytes())?;
        file.as_file().sync_all()?;
        // By root for the broker, whose file it is to be.
        let (of_file, of_folder) = (file.as_file().metadata()?, folder.metadata()?);
        if of_file.uid() == 0 && of_folder.uid() != 0 {
            fchown(file.as_file(), Some(of_folder.uid()), Some(of_folder.gid()))?;
        }
        file.persist(folder.join(FILE))?;
        Ok(())
    }

    /// The keys of a folder; makes them if there are none.
    ///
    /// # Errors
    /// If they can be neither read nor written.
    pub fn of_folder(folder: &Path, now: Duration) -> io::Result<Arc<Self>> {
        match Self::read(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let keys = Self::generate(now);
                keys.write(folder)?;
                Ok(Arc::new(keys))
            }
            read => read.map(Arc::new),
        }
    }
}

impl Key {
    fn generate(from: Duration) -> Self {
        let mut seed = [0; 32];
        rand::fill(&mut seed).expect("the system's random source works");
        // Whole seconds, as the file has them.
        Self::of(Duration::from_secs(from.as_secs()), seed).expect("any seed is a key")
    }

    fn of(from: Duration, seed: [u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&derived(&seed, "sign")).ok()?;
        let public = pair.public_key().as_ref();
        let id = HEXLOWER.encode(&digest(&SHA256, public).as_ref()[..8]);
        let jwk = json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": id,
            "x": BASE64URL_NOPAD.encode(public),
        });
        let signing = EncodingKey::from_ed_der(pair.to_pkcs8().ok()?.as_ref());
        Some(Self { id, from, seed: SecretBox::new(Box::new(seed)), signing, jwk })
    }

    /// The first half of its name.
    fn short_id(&self) -> [u8; 4] {
        let bytes = HEXLOWER.decode(self.id.as_bytes()).expect("a name is hexadecimal");
        bytes[..4].try_into().expect("a name has 8 bytes")
    }

    fn sealing(&self) -> [u8; 32] {
        derived(self.seed.expose_secret(), "seal")
    }

    fn copy(&self) -> Self {
        Self::of(self.from, *self.seed.expose_secret()).expect("it is a key")
    }
}

/// A key for one purpose, of the seed for all.
fn derived(seed: &[u8; 32], purpose: &str) -> [u8; 32] {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, seed);
    let derived = aws_lc_rs::hmac::sign(&key, format!("valet {purpose} 1").as_bytes());
    derived.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

impl PartialEq for Keyring {
    fn eq(&self, other: &Self) -> bool {
        self.generations().eq(other.generations())
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.generations()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(hours: u64) -> Duration {
        Duration::from_secs(1_800_000_000 + hours * 3600)
    }

    fn ids(keys: &Keyring) -> Vec<&str> {
        keys.generations().map(|(id, _)| id).collect()
    }

    #[test]
    fn a_file_holds_what_it_was_written_of() {
        let keys = Keyring::generate(at(0)).rotated(at(1));
        let text = keys.text();
        assert_eq!(Keyring::parse(text.expose_secret()).unwrap(), keys);
        assert!(!format!("{keys:?}").contains("seed"));
        for wrong in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"from":1,"seed":"AAAA"}]}"#] {
            assert!(Keyring::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_new_key_is_published_before_it_is_used_and_an_old_one_after_it_was() {
        let first = Keyring::generate(at(0));
        let second = first.rotated(at(1));
        let (old, new) = (ids(&second)[0], ids(&second)[1]);
        assert_eq!(second.signing(at(1)).id, old);
        assert_eq!(second.signing(at(1) + NOTICE).id, new);
        assert_eq!(second.jwks()["keys"].as_array().unwrap().len(), 2);
        // Rotated again soon, both stay; three days later, the first is over.
        assert_eq!(ids(&second.rotated(at(2)))[..2], [old, new]);
        let third = second.rotated(at(74));
        assert_eq!(ids(&third)[0], new);
        assert_eq!(third.generations().count(), 2);
    }

    #[test]
    fn processes_agree_if_each_accepts_what_the_other_gives_out() {
        let first = Keyring::generate(at(0));
        let second = first.rotated(at(1));
        let how = |one: &Keyring, other: &Keyring, now| {
            let (there, back) = (one.agreement(&other.told(), now), other.agreement(&one.told(), now));
            assert_eq!(there, back, "it is mutual");
            there
        };
        assert_eq!(how(&first, &first, at(0)), Agreement::Full);
        assert_eq!(how(&first, &second, at(1)), Agreement::ForNow, "before the new key is used");
        assert_eq!(how(&first, &second, at(1) + NOTICE), Agreement::None);
        assert_eq!(how(&second, &second, at(1) + NOTICE), Agreement::Full);
        assert_eq!(how(&first, &Keyring::generate(at(0)), at(0)), Agreement::None);
        assert_eq!(first.agreement("", at(0)), Agreement::None);
        // What is over need not be everyone's.
        let third = second.rotated(at(80));
        assert_eq!(how(&third, &second, at(80)), Agreement::ForNow);
    }

    #[test]
    fn a_file_of_keys_is_the_folders_owners_whoever_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        // Only root can give a folder away; to anyone else it is their own already.
        let _given = std::os::unix::fs::chown(folder.path(), Some(4711), Some(4712));
        Keyring::of_folder(folder.path(), at(0)).unwrap();
        let owner = |path: &Path| path.metadata().map(|file| (file.uid(), file.gid())).unwrap();
        assert_eq!(owner(&folder.path().join(FILE)), owner(folder.path()));
    }

    #[test]
    fn a_folder_keeps_its_keys() {
        let folder = tempfile::tempdir().unwrap();
        let made = Keyring::of_folder(folder.path(), at(0)).unwrap();
        assert_eq!(Keyring::of_folder(folder.path(), at(5)).unwrap(), made);
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(Keyring::of_folder(folder.path(), at(5)).is_err(), "it is not made anew over what was there");
    }
}
