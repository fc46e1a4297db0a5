/*
 * The protocol between the host and the agent: docs/agent.md. src/sandbox/agent-protocol.ts has the same
 * numbers; agent-protocol.test.ts compares the two.
 */
#ifndef PANDO_PROTOCOL_H
#define PANDO_PROTOCOL_H

#define PROTOCOL_VERSION 1
/* vsock port of the agent. */
#define AGENT_PORT 1024

/* A frame: u32 length of the payload, u8 type, three bytes of zeros, the payload. Little-endian. */
#define FRAME_HEADER 8
#define FRAME_PAYLOAD_MAX 65536

/* Requests: the first frame of a connection. */
#define REQUEST_PING 0x01
#define REQUEST_EXEC 0x02
#define REQUEST_CONNECT 0x03
#define REQUEST_SYSTEM 0x04
#define REQUEST_STAT 0x10
#define REQUEST_LIST 0x11
#define REQUEST_READ 0x12
#define REQUEST_WRITE 0x13
#define REQUEST_MKDIR 0x14
#define REQUEST_RENAME 0x15
#define REQUEST_REMOVE 0x16
#define REQUEST_CHMOD 0x17
#define REQUEST_SYMLINK 0x18
#define REQUEST_WATCH 0x19

/* What the host sends after its request. */
#define INPUT_DATA 0x20
#define INPUT_END 0x21
#define INPUT_SIGNAL 0x22
#define INPUT_RESIZE 0x23
/* u32 1 (output) or 2 (errors), u32 bytes that the host has taken. */
#define INPUT_CREDIT 0x24

/* What the agent sends. */
#define REPLY_OK 0x80
#define REPLY_ERROR 0x81
#define REPLY_STDOUT 0x82
#define REPLY_STDERR 0x83
#define REPLY_EXIT 0x84
#define REPLY_CREDIT 0x85
#define REPLY_DATA 0x86
#define REPLY_ENTRY 0x87
#define REPLY_EVENT 0x88
#define REPLY_END 0x89

/* Fields of a request: u16 tag, u16 zeros, u32 length, the bytes. */
#define FIELD_HEADER 8
#define FIELD_VERSION 1
#define FIELD_ARGUMENT 2
#define FIELD_ENVIRONMENT 3
#define FIELD_DIRECTORY 4
#define FIELD_USER 5
#define FIELD_FLAGS 6
#define FIELD_SIZE 7
#define FIELD_PATH 8
#define FIELD_TARGET 9
#define FIELD_MODE 10
#define FIELD_OFFSET 11
#define FIELD_LENGTH 12
#define FIELD_DEPTH 13
#define FIELD_PORT 14
#define FIELD_CLOCK 15
#define FIELD_ENTROPY 16
#define FIELD_HOSTNAME 17
#define FIELD_MACHINE_ID 18
#define FIELD_ADDRESS 19
#define FIELD_TIMESTAMP 20

/* Flags of an EXEC. */
#define EXEC_PTY 1
#define EXEC_STDIN 2
/* Flags of file requests. */
#define FILE_RECURSIVE 1
#define FILE_APPEND 2
#define FILE_EXCLUSIVE 4
#define FILE_FOLLOW 8
#define FILE_PARENTS 16

/* How a command ended. */
#define EXIT_STATUS 0
#define EXIT_SIGNAL 1

/* Credit at first, in bytes: of standard input for the host, of output and errors for the agent. */
#define STDIN_CREDIT 65536
#define OUTPUT_CREDIT 262144

#endif
