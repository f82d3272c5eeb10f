//! The text room's Rust half behind a small C ABI: Hugging Face `tokenizers` and chat templates in `minijinja`.
//! Both live in one static library, because two Rust static libraries in one program would define the standard library twice.

pub mod ffi;
mod python_json;
mod python_text;
mod stream;
mod template;
mod tokenizer;
