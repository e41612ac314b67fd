"""How much of a video we open, and the sentences that both of its readers say."""

MAX_BYTES = 50_000_000
MAX_SECONDS = 30.0
SLACK = 0.5  # seconds: a camera told to stop after 30 s stops a little later
MAX_FRAMES = 8_000  # 30 s of slow motion, 240 a second
MAX_PIXELS = 9_000_000
MAX_SIDE = 4_096
MAX_ASPECT = 100
CHOSEN = 8  # frames that are looked at
KEPT_SIDE = 640  # no tower looks closer at one of eight, and a conversation may hold many

DECODING_SECONDS = 20.0  # after which no further frame is decoded
READ_SECONDS = 28.0  # after which the process that decodes is ended
TURN_SECONDS = 30.0  # that one video waits for others
MEMORY = 2 * 2**30  # of address space; 4K HEVC with 16 reference frames in 10 bits takes half

USE_ANY = "Please use a JPEG, PNG, WebP or GIF picture, or an MP4, WebM or GIF video."
DAMAGED = (
    "The video is cut off or damaged, so no frame of it can be read. "
    "Please save or download it again, or use another one."
)
TOO_SLOW = "Reading the video takes too long. Please save it smaller, or cut a part out."
