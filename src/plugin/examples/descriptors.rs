//! Writes the compiled contract, a `google.protobuf.FileDescriptorSet`, to stdout.

use std::io::{self, Write as _};

fn main() -> io::Result<()> {
    io::stdout().write_all(cq_plugin::FILE_DESCRIPTOR_SET)
}
