"""The wavelet transform of SVT and the layers in its domain, in NumPy and complex numbers."""
import functools

import numpy as np

LOW0 = np.array([-9, 0, 114, -240, -247, 1520, 2844, 1520, -247, -240, 114, 0, -9]) / 5120
SYNTHESIS0 = np.array([81, 0, -1539, -2160, 8208, 27360, -63816, -59280, 343786, 641600])
SYNTHESIS0 = np.concatenate([SYNTHESIS0, SYNTHESIS0[-2::-1]]) / 1146880
H = LOW0, np.array([(-1) ** (n - 9) * t for n, t in enumerate(SYNTHESIS0)])
G = SYNTHESIS0, np.array([(-1) ** (n - 6) * t for n, t in enumerate(LOW0)])


def matrix(taps, length):
    """The filter as a matrix: borders are mirrored, again and again where the axis is short."""
    m = np.zeros((length, length))
    for i in range(length):
        for n, tap in enumerate(taps):
            j = i + n - len(taps) // 2
            while not 0 <= j < length:
                j = -1 - j if j < 0 else 2 * length - 1 - j
            m[i, j] += tap
    return m


def both(along_y, along_x, image):
    return np.einsum("ij,...jk,lk->...il", matrix(along_y, image.shape[-2]), image, matrix(along_x, image.shape[-1]))


def forward(image):
    """image: [.., y, x]; gives the low band and [.., o, y2, x2], complex."""
    first, second = [], []
    for y, x in ((1, 0), (1, 1), (0, 1)):  # LH, HH, HL
        band = both(H[y], H[x], image)
        a, b, c, d = (band[..., i::2, j::2] for i in (0, 1) for j in (0, 1))
        first.append((a - d + 1j * (b + c)) / np.sqrt(2))
        second.append((a + d + 1j * (b - c)) / np.sqrt(2))
    return both(H[0], H[0], image), np.stack(first + second[::-1], -3)


def inverse(low, waves):
    image = both(G[0], G[0], low)
    for n, (y, x) in enumerate(((1, 0), (1, 1), (0, 1))):
        z1, z2 = waves[..., n, :, :], waves[..., 5 - n, :, :]
        band = np.zeros(image.shape)
        band[..., 0::2, 0::2], band[..., 0::2, 1::2] = z1.real + z2.real, z1.imag + z2.imag
        band[..., 1::2, 0::2], band[..., 1::2, 1::2] = z1.imag - z2.imag, z2.real - z1.real
        image = image + both(G[y], G[x], band / np.sqrt(2))
    return image


def rectify(z):
    return np.maximum(z.real, 0) + 1j * np.maximum(z.imag, 0)


def complex_(w):
    return w[0] + 1j * w[1]


def across_channels(w, z):
    """z: [b, c, o, y2, x2], its channels in blocks."""
    b, c, *rest = z.shape
    w1, w2, b1, b2 = (complex_(w[name]) for name in ("w1", "w2", "b1", "b2"))
    z = z.reshape(b, len(w1), c // len(w1), *rest)
    z = rectify(np.einsum("bnkoyx,nkl->bnloyx", z, w1) + b1[None, :, :, None, None, None])
    z = np.einsum("bnkoyx,nkl->bnloyx", z, w2) + b2[None, :, :, None, None, None]
    return z.reshape(b, c, *rest)


def along_rows(w, z):
    w1, w2, b1, b2 = (complex_(w[name]) for name in ("w1", "w2", "b1", "b2"))
    z = rectify(np.einsum("bcoyx,yxz->bcoyz", z, w1) + b1)
    return np.einsum("bcoyx,yxz->bcoyz", z, w2) + b2


def under(w, name):
    return {key[len(name) + 1:]: value for key, value in w.items() if key.startswith(name + ".")}


def shrink(x, by):
    return np.where(x > by, x - by, np.where(x < -by, x + by, 0))


def scattering(w, x, by=0):
    """x: [b, y, x, c]."""
    low, waves = forward(x.transpose(0, 3, 1, 2))
    waves = across_channels(under(w, "across_channels"), waves)
    y = inverse(low * w["low_gate"], shrink(waves.real, by) + 1j * shrink(waves.imag, by))
    return y.transpose(0, 2, 3, 1)


def scattering_weights(random, name, c, rows, cols, blocks=4):
    k = c // blocks
    w = {f"{name}.low_gate": 1 + 0.3 * random.standard_normal((c, rows, cols))}
    for n in "12":
        w[f"{name}.across_channels.w{n}"] = random.standard_normal((2, blocks, k, k)) / (2 * k) ** 0.5
        w[f"{name}.across_channels.b{n}"] = 0.1 * random.standard_normal((2, blocks, k))
    return {key: value.astype(np.float32) for key, value in w.items()}


@functools.cache
def as_tensor(back, n, length, dtype):
    import torch

    return torch.tensor(matrix((G if back else H)[n], length), dtype=dtype)


def in_torch(w, x):
    """`scattering` in PyTorch, with a matrix for each filter and axis, and pairs of real numbers. x: [b, y, x, c]."""
    import torch

    def both(back, n, m, image):
        return as_tensor(back, n, x.shape[1], x.dtype) @ image @ as_tensor(back, m, x.shape[2], x.dtype).T

    image, root = x.permute(0, 3, 1, 2), 0.5**0.5
    first, second = [], []
    for y_, x_ in ((1, 0), (1, 1), (0, 1)):
        band = both(False, y_, x_, image)
        a, b, c, d = (band[..., i::2, j::2] for i in (0, 1) for j in (0, 1))
        first.append(torch.stack([a - d, b + c]))
        second.append(torch.stack([a + d, b - c]))
    z = torch.stack(first + second[::-1], -3) * root  # [ri, b, c, o, y2, x2]
    own = under(w, "across_channels")
    z = z.unflatten(2, (own["w1"].shape[1], -1))
    for n, act in (("1", torch.relu), ("2", lambda z: z)):
        m, bias = own[f"w{n}"], own[f"b{n}"]
        product = torch.einsum("rbnkoyx,snkl->rsbnloyx", z, m)
        z = torch.stack([product[0, 0] - product[1, 1], product[0, 1] + product[1, 0]])
        z = act(z + bias[:, None, :, :, None, None, None])
    z, low = z.flatten(2, 3), both(False, 0, 0, image) * w["low_gate"]
    image = both(True, 0, 0, low)
    for n, (y_, x_) in enumerate(((1, 0), (1, 1), (0, 1))):
        (r1, i1), (r2, i2) = z[:, :, :, n], z[:, :, :, 5 - n]
        upper, lower = torch.stack([r1 + r2, i1 + i2], -1).flatten(-2), torch.stack([i1 - i2, r2 - r1], -1).flatten(-2)
        image = image + both(True, y_, x_, torch.stack([upper, lower], -2).flatten(-3, -2) * root)
    return image.permute(0, 2, 3, 1)
