//! The commands about tokens and tasks of the account.

pub(crate) mod cancel;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod models;
pub(crate) mod task;
pub(crate) mod token;
