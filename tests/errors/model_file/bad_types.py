# graphc compile FILE
inputs = {"image": "float33[N,4]", "mask": "float32[N,", "size": "float32"}


def forward(image, mask):
    return image * mask
