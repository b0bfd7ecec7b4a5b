/* A UVC camera without hardware: preloaded (LD_PRELOAD), it answers for one /dev/videoN, and whoever
 * opens that talks to the code below through his own, real V4L2 code.
 *
 *   FAKE_V4L2_NODE   number N of the node (default 0)
 *   FAKE_V4L2_STATE  folder in which an existing file changes the camera:
 *                      unplugged  gone: opening fails, everything else says ENODEV
 *                      stalled    pictures are taken, but stay in the driver until the file is gone
 *                      frozen     one picture again and again, byte for byte
 *                      black      the lens is covered: noise around black
 *   FAKE_V4L2_JPEG   a JPEG of 1280x720 pixels; with it, the camera also has MJPG, and this is its
 *                    picture
 *
 * YUYV pictures in 320x240, 640x480 and 1280x720 (MJPG in the last only), up to 30 a second, grey
 * stripes that move, and sensor noise.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_BUFFERS = 8, MAX_FPS = 30, POLL_US = 2000 };

static struct {
    int fd;
    unsigned width, height, fps, pixelformat;
    unsigned char *memory;
    unsigned buffers;
    unsigned queue[MAX_BUFFERS + 1], head, tail; /* ring of buffers that wait to be filled */
    int streaming;
    unsigned sequence;
    double next_s; /* when the next picture is taken */
} camera = {.fd = -1};

static struct {
    unsigned char *bytes;
    size_t size;
} jpeg;

/* --- the world around --- */

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static int state(const char *name)
{
    char path[4096];
    const char *folder = getenv("FAKE_V4L2_STATE");
    if (!folder)
        return 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static int is_ours(const char *path)
{
    const char *node = getenv("FAKE_V4L2_NODE");
    return path && !strncmp(path, "/dev/video", 10) && !strcmp(path + 10, node ? node : "0");
}

static void load_jpeg(void)
{
    const char *path = getenv("FAKE_V4L2_JPEG");
    FILE *file = path && !jpeg.bytes ? fopen(path, "rb") : NULL;
    if (!file)
        return;
    fseek(file, 0, SEEK_END);
    jpeg.size = ftell(file);
    rewind(file);
    jpeg.bytes = malloc(jpeg.size);
    if (!jpeg.bytes || fread(jpeg.bytes, 1, jpeg.size, file) != jpeg.size)
        abort();
    fclose(file);
}

/* --- the camera --- */

static size_t buffer_bytes(void)
{
    size_t picture = (size_t)camera.width * camera.height * 2;
    if (camera.pixelformat == V4L2_PIX_FMT_MJPEG && jpeg.size > picture)
        picture = jpeg.size;
    return (picture + 4095) & ~(size_t)4095;
}

static void free_buffers(void)
{
    if (camera.memory)
        munmap(camera.memory, buffer_bytes() * camera.buffers);
    camera.memory = NULL;
    camera.buffers = 0;
    camera.head = camera.tail = 0;
}

static int open_camera(void)
{
    if (state("unplugged")) {
        errno = ENOENT;
        return -1;
    }
    if (camera.fd >= 0) {
        errno = EBUSY;
        return -1;
    }
    load_jpeg();
    camera.fd = memfd_create("fake_v4l2", 0);
    camera.width = 640, camera.height = 480, camera.fps = MAX_FPS;
    camera.pixelformat = V4L2_PIX_FMT_YUYV;
    camera.streaming = 0;
    camera.sequence = 0;
    return camera.fd;
}

static void close_camera(void)
{
    free_buffers();
    camera.fd = -1;
}

static unsigned noise(void)
{
    static unsigned x = 2463534242u;
    x ^= x << 13, x ^= x >> 17, x ^= x << 5;
    return x;
}

static size_t take_picture(unsigned char *into)
{
    static unsigned shown;
    if (camera.pixelformat == V4L2_PIX_FMT_MJPEG) {
        memcpy(into, jpeg.bytes, jpeg.size);
        return jpeg.size;
    }
    const int frozen = state("frozen"), black = state("black");
    if (!frozen)
        shown = camera.sequence;
    size_t pixels = (size_t)camera.width * camera.height;
    for (size_t i = 0; i < pixels; i++) {
        unsigned grain = frozen ? 0 : noise() & 7;
        unsigned level = black ? 16 + grain / 2 : 60 + ((i % camera.width + shown * 4) & 127) + grain;
        into[2 * i] = level;
        into[2 * i + 1] = 128;
    }
    return pixels * 2;
}

static int wait_for_picture(void)
{
    double t = now_s();
    if (camera.next_s < t - (double)MAX_BUFFERS / camera.fps)
        camera.next_s = t; /* nobody fetched for so long that pictures were lost */
    if (camera.next_s > t)
        usleep((camera.next_s - t) * 1e6);
    while (state("stalled")) {
        if (state("unplugged")) {
            errno = ENODEV;
            return -1;
        }
        usleep(POLL_US);
    }
    return 0;
}

/* --- its ioctls --- */

static int query_capability(struct v4l2_capability *c)
{
    memset(c, 0, sizeof *c);
    strcpy((char *)c->driver, "uvcvideo");
    strcpy((char *)c->card, "Fake UVC camera");
    strcpy((char *)c->bus_info, "usb-fake-1");
    c->version = 0x60100;
    c->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
    c->capabilities = c->device_caps | V4L2_CAP_DEVICE_CAPS;
    return 0;
}

static int enumerate_inputs(struct v4l2_input *input)
{
    if (input->index)
        return errno = EINVAL, -1;
    strcpy((char *)input->name, "Camera 1");
    input->type = V4L2_INPUT_TYPE_CAMERA;
    return 0;
}

static int enumerate_formats(struct v4l2_fmtdesc *format)
{
    if (format->index > (jpeg.bytes ? 1u : 0u))
        return errno = EINVAL, -1;
    format->pixelformat = format->index ? V4L2_PIX_FMT_MJPEG : V4L2_PIX_FMT_YUYV;
    strcpy((char *)format->description, format->index ? "Motion-JPEG" : "YUYV 4:2:2");
    return 0;
}

static int get_format(struct v4l2_format *format)
{
    struct v4l2_pix_format *pix = &format->fmt.pix;
    pix->width = camera.width, pix->height = camera.height;
    pix->pixelformat = camera.pixelformat;
    pix->field = V4L2_FIELD_NONE;
    pix->bytesperline = camera.pixelformat == V4L2_PIX_FMT_YUYV ? camera.width * 2 : 0;
    pix->sizeimage = buffer_bytes();
    pix->colorspace = V4L2_COLORSPACE_SRGB;
    return 0;
}

static int set_format(struct v4l2_format *format, int try_only)
{
    unsigned width = camera.width, height = camera.height, pixelformat = camera.pixelformat;
    unsigned wanted = format->fmt.pix.width;
    if (!try_only && camera.buffers)
        return errno = EBUSY, -1;
    camera.pixelformat = jpeg.bytes && format->fmt.pix.pixelformat == V4L2_PIX_FMT_MJPEG
                             ? V4L2_PIX_FMT_MJPEG
                             : V4L2_PIX_FMT_YUYV;
    if (camera.pixelformat == V4L2_PIX_FMT_MJPEG || wanted > 640)
        camera.width = 1280, camera.height = 720;
    else if (wanted > 320)
        camera.width = 640, camera.height = 480;
    else
        camera.width = 320, camera.height = 240;
    get_format(format);
    if (try_only)
        camera.width = width, camera.height = height, camera.pixelformat = pixelformat;
    return 0;
}

static int rate(struct v4l2_streamparm *parameters, int set)
{
    struct v4l2_captureparm *capture = &parameters->parm.capture;
    if (set && capture->timeperframe.numerator) {
        unsigned fps = capture->timeperframe.denominator / capture->timeperframe.numerator;
        camera.fps = fps < 1 ? 1 : fps > MAX_FPS ? MAX_FPS : fps;
    }
    capture->capability = V4L2_CAP_TIMEPERFRAME;
    capture->timeperframe.numerator = 1;
    capture->timeperframe.denominator = camera.fps;
    return 0;
}

static int request_buffers(int fd, struct v4l2_requestbuffers *request)
{
    free_buffers();
    camera.buffers = request->count > MAX_BUFFERS ? MAX_BUFFERS : request->count;
    request->count = camera.buffers;
    if (!camera.buffers)
        return 0;
    size_t bytes = buffer_bytes() * camera.buffers;
    if (ftruncate(fd, bytes))
        return -1;
    camera.memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return camera.memory == MAP_FAILED ? -1 : 0;
}

static int query_buffer(struct v4l2_buffer *buffer)
{
    if (buffer->index >= camera.buffers)
        return errno = EINVAL, -1;
    buffer->length = buffer_bytes();
    buffer->m.offset = buffer_bytes() * buffer->index;
    buffer->flags = 0;
    return 0;
}

static int queue_buffer(struct v4l2_buffer *buffer)
{
    camera.queue[camera.tail++ % (MAX_BUFFERS + 1)] = buffer->index;
    return 0;
}

static int dequeue_buffer(struct v4l2_buffer *buffer)
{
    if (!camera.streaming)
        return errno = EINVAL, -1;
    if (camera.head == camera.tail)
        return errno = EAGAIN, -1;
    if (wait_for_picture())
        return -1;
    unsigned index = camera.queue[camera.head++ % (MAX_BUFFERS + 1)];
    buffer->index = index;
    query_buffer(buffer);
    buffer->bytesused = take_picture(camera.memory + buffer->m.offset);
    buffer->sequence = camera.sequence++;
    buffer->timestamp.tv_sec = (long)camera.next_s;
    buffer->timestamp.tv_usec = (camera.next_s - (long)camera.next_s) * 1e6;
    buffer->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    camera.next_s += 1.0 / camera.fps;
    return 0;
}

static int stream(int on)
{
    camera.streaming = on;
    camera.next_s = now_s();
    if (!on)
        camera.head = camera.tail = 0;
    return 0;
}

static int answer(int fd, unsigned request, void *argument)
{
    if (state("unplugged"))
        return errno = ENODEV, -1;
    switch (request) {
    case VIDIOC_QUERYCAP: return query_capability(argument);
    case VIDIOC_ENUMINPUT: return enumerate_inputs(argument);
    case VIDIOC_G_INPUT: return *(int *)argument = 0;
    case VIDIOC_S_INPUT: return *(int *)argument ? (errno = EINVAL, -1) : 0;
    case VIDIOC_ENUM_FMT: return enumerate_formats(argument);
    case VIDIOC_G_FMT: return get_format(argument);
    case VIDIOC_S_FMT: return set_format(argument, 0);
    case VIDIOC_TRY_FMT: return set_format(argument, 1);
    case VIDIOC_G_PARM: return rate(argument, 0);
    case VIDIOC_S_PARM: return rate(argument, 1);
    case VIDIOC_REQBUFS: return request_buffers(fd, argument);
    case VIDIOC_QUERYBUF: return query_buffer(argument);
    case VIDIOC_QBUF: return queue_buffer(argument);
    case VIDIOC_DQBUF: return dequeue_buffer(argument);
    case VIDIOC_STREAMON: return stream(1);
    case VIDIOC_STREAMOFF: return stream(0);
    default: return errno = ENOTTY, -1;
    }
}

/* --- the C library's functions, ours first --- */

#define OPEN(name)                                                                                \
    int name(const char *path, int flags, ...)                                                    \
    {                                                                                             \
        va_list more;                                                                             \
        va_start(more, flags);                                                                    \
        int mode = va_arg(more, int);                                                             \
        va_end(more);                                                                             \
        return is_ours(path) ? open_camera() : REAL(name)(path, flags, mode);                     \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                              \
    int name(int folder, const char *path, int flags, ...)                                        \
    {                                                                                             \
        va_list more;                                                                             \
        va_start(more, flags);                                                                    \
        int mode = va_arg(more, int);                                                             \
        va_end(more);                                                                             \
        return is_ours(path) ? open_camera() : REAL(name)(folder, path, flags, mode);             \
    }
OPENAT(openat)
OPENAT(openat64)

/* What open() becomes under _FORTIFY_SOURCE. */
int __open_2(const char *path, int flags) { return open(path, flags); }
int __open64_2(const char *path, int flags) { return open64(path, flags); }

int close(int fd)
{
    if (fd >= 0 && fd == camera.fd)
        close_camera();
    return REAL(close)(fd);
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list more;
    va_start(more, request);
    void *argument = va_arg(more, void *);
    va_end(more);
    return fd >= 0 && fd == camera.fd ? answer(fd, request, argument)
                                      : REAL(ioctl)(fd, request, argument);
}
