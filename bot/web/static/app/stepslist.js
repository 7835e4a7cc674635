// The steps that come with the service. A test holds them against the steps themselves.

/** @typedef {{name: string, label: string, kind: "text" | "number" | "flag" | "list" | "secret",
 *   choices?: string[], needed?: boolean, example?: string, least?: number,
 *   most?: number}} ParamOf */

/** @type {Record<string, ParamOf[]>} */
export const BUILT_IN = {
  "extract": [
    { "name": "password", "label": "Passwords (comma between)", "kind": "list" },
    { "name": "recursive", "label": "Archives in archives, too", "kind": "flag" }
  ],
  "zip": [
    { "name": "name", "label": "Name", "kind": "text" },
    { "name": "format", "label": "Format", "kind": "text", "choices": ["zip", "7z"] },
    { "name": "level", "label": "Compression, 0 to 9", "kind": "number", "least": 0, "most": 9 },
    { "name": "password", "label": "Password", "kind": "secret" },
    { "name": "split", "label": "Parts of so many bytes", "kind": "number", "least": 1024 }
  ],
  "split": [
    { "name": "size", "label": "Bytes of a part", "kind": "number", "least": 1024, "needed": true }
  ],
  "join": [],
  "rename": [
    { "name": "pattern", "label": "Pattern", "kind": "text", "needed": true,
      "example": "old/new" }
  ],
  "include": [
    { "name": "extensions", "label": "Keep only these", "kind": "list", "needed": true,
      "example": "mkv, srt" }
  ],
  "exclude": [
    { "name": "extensions", "label": "Leave these out", "kind": "list", "needed": true,
      "example": "nfo, txt" }
  ],
  "convert": [
    { "name": "video", "label": "Video to", "kind": "text", "choices": ["mp4", "mov", "mkv", "webm"] },
    { "name": "audio", "label": "Sound to", "kind": "text",
      "choices": ["mp3", "m4a", "opus", "ogg", "flac", "wav"] },
    { "name": "keep", "label": "Keep the original", "kind": "flag" }
  ],
  "preset": [
    { "name": "name", "label": "Preset", "kind": "text", "needed": true,
      "choices": ["h264", "h264-1080p", "h264-720p", "h264-480p", "h265", "h265-1080p",
        "h265-720p", "mp3-128k", "mp3-320k", "opus-96k", "voice", "loudness"] },
    { "name": "keep", "label": "Keep the original", "kind": "flag" }
  ],
  "screenshots": [
    { "name": "count", "label": "How many", "kind": "number", "least": 1, "most": 50 }
  ],
  "thumbnail": [
    { "name": "at", "label": "At second", "kind": "number", "least": 0 },
    { "name": "width", "label": "Width", "kind": "number", "least": 16, "most": 4096 }
  ],
  "sample": [
    { "name": "duration", "label": "Seconds in all", "kind": "number", "least": 4, "most": 600 },
    { "name": "part", "label": "Seconds of a part", "kind": "number", "least": 1, "most": 60 }
  ]
};
