"""The wire that `server`, `hf` and `azure` speak: the OpenAI dialect of chat, over HTTP/1.1.

Sans-I/O: `encode` (request -> JSON), `sse` (bytes -> events), `tools` and `decode` (bytes -> deltas), `inflate`,
`classify` (status and body -> error). I/O: `exchange` is the interface, `http1` what stands behind
it, `pipes` the sockets underneath, `address` what may be contacted and with which key.
"""
