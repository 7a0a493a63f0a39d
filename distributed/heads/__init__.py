"""The heads that a fine-tuned model keeps to predict with besides its network, and what people see of them."""
