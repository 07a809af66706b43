//! The codec of gRPC messages: it hands small ones to the connection in one piece, and decodes all in one piece.

use std::marker::PhantomData;

use bytes::{Buf, BufMut};
use prost::Message;
use tonic::Status;
use tonic::codec::{self, DecodeBuf, EncodeBuf};

/// The size up to which a message is encoded aside and then copied: a connection's buffer takes a few bytes at a time
/// slowly, as it does the numbers in the answers to appends.
const COPIED_BYTES_MAX: usize = 32 * 1024;

/// A codec that sends messages of the type `T` and receives messages of the type `U`.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Codec<T, U> {
        Codec(PhantomData)
    }
}

impl<T, U> codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Encoder<T>;
    type Decoder = Decoder<U>;

    fn encoder(&mut self) -> Encoder<T> {
        Encoder { aside: Vec::new(), of: PhantomData }
    }

    fn decoder(&mut self) -> Decoder<U> {
        Decoder(PhantomData)
    }
}

/// The half of a codec that sends.
#[derive(Debug)]
pub struct Encoder<T> {
    aside: Vec<u8>,
    of: PhantomData<T>,
}

impl<T: Message> codec::Encoder for Encoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, connection: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // The buffers grow as they must, so there is always room.
        let length = message.encoded_len();
        if length > COPIED_BYTES_MAX {
            connection.reserve(length);
            message.encode_raw(connection);
        } else {
            self.aside.clear();
            self.aside.reserve(length);
            message.encode_raw(&mut self.aside);
            connection.put_slice(&self.aside);
        }
        Ok(())
    }
}

/// The half of a codec that receives.
#[derive(Debug)]
pub struct Decoder<U>(PhantomData<U>);

impl<U: Message + Default> codec::Decoder for Decoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, connection: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // These bytes are not copied, and neither are the parts of them in the message.
        let bytes = connection.copy_to_bytes(connection.remaining());
        U::decode(bytes).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
