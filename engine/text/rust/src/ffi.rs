//! The C ABI. Declared for C++ in engine/text/rust_bridge.h; keep the two in step.
//!
//! Rules: every call is wrapped in `catch_unwind` (a panic must not cross into C++); lengths are explicit; every result is owned by the caller
//! until it is given back to `swt_buffer_free` or `swt_tokens_free`; handles are immutable and may be used from many threads, streams may not.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

use crate::stream::TextStream;
use crate::template::{Failure, Template};
use crate::tokenizer::TextTokenizer;

pub const OK: i32 = 0;
pub const ERROR: i32 = 1;
pub const PANIC: i32 = 2;
pub const LIMIT: i32 = 3;

/// Bytes owned by the caller. Text results are valid UTF-8.
#[repr(C)]
pub struct SwtBuffer {
    data: *mut u8,
    len: usize,
}

impl SwtBuffer {
    fn from_string(text: String) -> Self {
        let boxed = text.into_bytes().into_boxed_slice();
        let len = boxed.len();
        SwtBuffer { data: Box::into_raw(boxed) as *mut u8, len }
    }
}

/// `values` holds `len` ids, and after them, when offsets were asked for, `len` pairs (begin, end).
#[repr(C)]
pub struct SwtTokens {
    values: *mut i32,
    total: usize,
    len: usize,
}

type Outcome<T> = Result<T, (i32, String)>;

fn error<E: std::fmt::Display>(e: E) -> (i32, String) {
    (ERROR, e.to_string())
}

/// Runs `body`, turns its failure or its panic into a code and a message in `out_error`.
fn guarded(out_error: *mut SwtBuffer, body: impl FnOnce() -> Outcome<()>) -> i32 {
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let text = payload
            .downcast_ref::<&str>()
            .map(|s| s.to_string())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "unknown cause".to_string());
        Err((PANIC, format!("panic in the text library: {text}")))
    });
    match outcome {
        Ok(()) => OK,
        Err((code, message)) => {
            unsafe { *out_error = SwtBuffer::from_string(message) };
            code
        }
    }
}

/// # Safety: `data` points to `len` readable bytes (or `len` is 0).
unsafe fn text<'a>(data: *const u8, len: usize) -> Outcome<&'a str> {
    if len == 0 {
        return Ok("");
    }
    std::str::from_utf8(std::slice::from_raw_parts(data, len))
        .map_err(|e| (ERROR, format!("not valid UTF-8 at byte {}", e.valid_up_to())))
}

unsafe fn ids<'a>(data: *const i32, len: usize) -> &'a [u32] {
    if len == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data as *const u32, len)
    }
}

#[no_mangle]
pub unsafe extern "C" fn swt_buffer_free(buffer: SwtBuffer) {
    if !buffer.data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(buffer.data, buffer.len)));
    }
}

#[no_mangle]
pub unsafe extern "C" fn swt_tokens_free(tokens: SwtTokens) {
    if !tokens.values.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(tokens.values, tokens.total)));
    }
}

#[no_mangle]
pub unsafe extern "C" fn swt_tokenizer_new(
    json: *const u8, len: usize, out: *mut *mut Arc<TextTokenizer>, out_error: *mut SwtBuffer,
) -> i32 {
    guarded(out_error, || {
        let tokenizer = TextTokenizer::new(text(json, len)?).map_err(error)?;
        *out = Box::into_raw(Box::new(Arc::new(tokenizer)));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn swt_tokenizer_free(tokenizer: *mut Arc<TextTokenizer>) {
    if !tokenizer.is_null() {
        drop(Box::from_raw(tokenizer));
    }
}

#[no_mangle]
pub unsafe extern "C" fn swt_tokenizer_vocab_size(tokenizer: *const Arc<TextTokenizer>) -> usize {
    (*tokenizer).vocab_size()
}

/// -1 when the vocabulary has no such token.
#[no_mangle]
pub unsafe extern "C" fn swt_tokenizer_token_to_id(tokenizer: *const Arc<TextTokenizer>, token: *const u8, len: usize) -> i32 {
    let Ok(token) = text(token, len) else { return -1 };
    catch_unwind(AssertUnwindSafe(|| (*tokenizer).token_to_id(token))).ok().flatten().map_or(-1, |id| id as i32)
}

#[no_mangle]
pub unsafe extern "C" fn swt_encode(
    tokenizer: *const Arc<TextTokenizer>, data: *const u8, len: usize, add_special_tokens: bool, with_offsets: bool,
    out: *mut SwtTokens, out_error: *mut SwtBuffer,
) -> i32 {
    guarded(out_error, || {
        let (values, count) = (*tokenizer).encode(text(data, len)?, add_special_tokens, with_offsets).map_err(error)?;
        let boxed = values.into_boxed_slice();
        let total = boxed.len();
        *out = SwtTokens { values: Box::into_raw(boxed) as *mut i32, total, len: count };
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn swt_decode(
    tokenizer: *const Arc<TextTokenizer>, tokens: *const i32, len: usize, skip_special_tokens: bool,
    out: *mut SwtBuffer, out_error: *mut SwtBuffer,
) -> i32 {
    guarded(out_error, || {
        let decoded = (*tokenizer).decode(ids(tokens, len), skip_special_tokens).map_err(error)?;
        *out = SwtBuffer::from_string(decoded);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn swt_stream_new(tokenizer: *const Arc<TextTokenizer>, skip_special_tokens: bool) -> *mut TextStream {
    Box::into_raw(Box::new(TextStream::new((*tokenizer).clone(), skip_special_tokens)))
}

#[no_mangle]
pub unsafe extern "C" fn swt_stream_free(stream: *mut TextStream) {
    if !stream.is_null() {
        drop(Box::from_raw(stream));
    }
}

#[no_mangle]
pub unsafe extern "C" fn swt_stream_step(stream: *mut TextStream, token: u32, out: *mut SwtBuffer, out_error: *mut SwtBuffer) -> i32 {
    guarded(out_error, || {
        *out = SwtBuffer::from_string((*stream).step(token).map_err(error)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn swt_stream_flush(stream: *mut TextStream, out: *mut SwtBuffer, out_error: *mut SwtBuffer) -> i32 {
    guarded(out_error, || {
        *out = SwtBuffer::from_string((*stream).flush().map_err(error)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn swt_template_new(
    source: *const u8, len: usize, fuel: u64, max_output_bytes: usize, out: *mut *mut Template, out_error: *mut SwtBuffer,
) -> i32 {
    guarded(out_error, || {
        let template = Template::new(text(source, len)?, fuel, max_output_bytes).map_err(error)?;
        *out = Box::into_raw(Box::new(template));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn swt_template_free(template: *mut Template) {
    if !template.is_null() {
        drop(Box::from_raw(template));
    }
}

/// `variables`: a JSON object, the template's context. `local_seconds`: what strftime_now takes for the local time, as seconds since 1970 on
/// the local clock; negative means the real clock.
#[no_mangle]
pub unsafe extern "C" fn swt_template_render(
    template: *const Template, variables: *const u8, len: usize, local_seconds: i64, out: *mut SwtBuffer, out_error: *mut SwtBuffer,
) -> i32 {
    guarded(out_error, || {
        let rendered = (*template).render(text(variables, len)?, local_seconds).map_err(|failure| match failure {
            Failure::Template(message) => (ERROR, message),
            Failure::Limit(message) => (LIMIT, message),
        })?;
        *out = SwtBuffer::from_string(rendered);
        Ok(())
    })
}

/// The position of the first byte that is not valid UTF-8; `len` when all is well.
#[no_mangle]
pub unsafe extern "C" fn swt_invalid_utf8(data: *const u8, len: usize) -> usize {
    if len == 0 {
        return 0;
    }
    std::str::from_utf8(std::slice::from_raw_parts(data, len)).map_or_else(|e| e.valid_up_to(), |_| len)
}
