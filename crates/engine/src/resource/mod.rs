//! What a ring holds for its requests: registered files and buffers, and the register calls.
pub mod filetable;
mod query;
pub mod regdef;
pub mod register;
pub mod rsrc;
