//! What a ring holds for its requests: registered files and buffers, and the register calls.
mod clone;
pub mod filetable;
pub mod kbuf;
pub mod napi;
pub mod personality;
mod query;
pub mod regdef;
pub mod register;
pub mod restrictions;
pub mod ringfd;
pub mod rsrc;
