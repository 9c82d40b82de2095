/* SPDX-License-Identifier: BSD-3-Clause */
/* The registers of the 8254x by the manual's names, and their bits (8254x manual, chapter 13). */
#ifndef NICS_E1000_REGS_H
#define NICS_E1000_REGS_H

/*
 * X(name, offset, count, stride, reset, mask, gate, read, write): one register, or an array of
 * them. Each element has a slot in struct e1000's reg[], from R_<name> on.
 *
 * mask	 bits that can differ from the reset value, by the guest or by the device
 * gate	 the option without which the register is not there: EXTRA (extra_mac_registers), MITIG
 *	 (mitigation), ALWAYS
 * read	 plain: the slot; else read_<read>() of e1000_regs.c
 * write plain: the bits of the mask into the slot; else write_<write>()
 */
#define E1000_REGS(X)                                                                              \
	X(CTRL, 0x0000, 1, 4, 0x00140240, 0xffffffff, ALWAYS, plain, ctrl)                         \
	X(STATUS, 0x0008, 1, 4, 0x80080781, 0x000000c3, ALWAYS, plain, none)                       \
	X(EECD, 0x0010, 1, 4, 0, 0x00000077, ALWAYS, eecd, eecd)                                   \
	X(EERD, 0x0014, 1, 4, 0, 0x0000ff01, ALWAYS, eerd, plain)                                  \
	X(CTRL_EXT, 0x0018, 1, 4, 0, 0xffffffff, ALWAYS, plain, ctrl_ext)                          \
	X(FLA, 0x001c, 1, 4, 0, 0x00000017, ALWAYS, plain, plain)                                  \
	X(MDIC, 0x0020, 1, 4, 0, 0x7fffffff, ALWAYS, plain, mdic)                                  \
	X(FCAL, 0x0028, 1, 4, 0, 0xffffffff, ALWAYS, plain, plain)                                 \
	X(FCAH, 0x002c, 1, 4, 0, 0x0000ffff, ALWAYS, plain, plain)                                 \
	X(FCT, 0x0030, 1, 4, 0, 0x0000ffff, ALWAYS, plain, plain)                                  \
	X(VET, 0x0038, 1, 4, 0, 0x0000ffff, ALWAYS, plain, rx_config)                              \
	X(ICR, 0x00c0, 1, 4, 0, 0x0001ffff, ALWAYS, icr, icr)                                      \
	X(ITR, 0x00c4, 1, 4, 0, 0x0000ffff, MITIG, plain, itr)                                     \
	X(ICS, 0x00c8, 1, 4, 0, 0x0001ffff, ALWAYS, ics, ics)                                      \
	X(IMS, 0x00d0, 1, 4, 0, 0x0001ffff, ALWAYS, plain, ims)                                    \
	X(IMC, 0x00d8, 1, 4, 0, 0x0001ffff, ALWAYS, plain, imc)                                    \
	X(RCTL, 0x0100, 1, 4, 0, 0x06dfb3fe, ALWAYS, plain, rx_config)                             \
	X(FCTTV, 0x0170, 1, 4, 0, 0x0000ffff, ALWAYS, plain, plain)                                \
	X(TXCW, 0x0178, 1, 4, 0, 0xc000ffff, ALWAYS, plain, plain)                                 \
	X(RXCW, 0x0180, 1, 4, 0, 0, ALWAYS, plain, none)                                           \
	X(TCTL, 0x0400, 1, 4, 0, 0x13fffffa, ALWAYS, plain, tx_start)                              \
	X(TIPG, 0x0410, 1, 4, 0, 0x3fffffff, ALWAYS, plain, plain)                                 \
	X(AIT, 0x0458, 1, 4, 0, 0x0000ffff, EXTRA, plain, plain)                                   \
	X(LEDCTL, 0x0e00, 1, 4, 0x00000602, 0xffffffff, ALWAYS, plain, plain)                      \
	X(PBA, 0x1000, 1, 4, 0x00100030, 0x007f007f, ALWAYS, plain, pba)                           \
	X(FCRTL, 0x2160, 1, 4, 0, 0x8000fff8, ALWAYS, plain, plain)                                \
	X(FCRTH, 0x2168, 1, 4, 0, 0x0000fff8, ALWAYS, plain, plain)                                \
	X(RDFH, 0x2410, 1, 4, 0, 0x00001fff, EXTRA, plain, plain)                                  \
	X(RDFT, 0x2418, 1, 4, 0, 0x00001fff, EXTRA, plain, plain)                                  \
	X(RDFHS, 0x2420, 1, 4, 0, 0x00001fff, EXTRA, plain, plain)                                 \
	X(RDFTS, 0x2428, 1, 4, 0, 0x00001fff, EXTRA, plain, plain)                                 \
	X(RDFPC, 0x2430, 1, 4, 0, 0x00001fff, EXTRA, plain, plain)                                 \
	X(RDBAL, 0x2800, 1, 4, 0, 0xfffffff0, ALWAYS, plain, ring)                                 \
	X(RDBAH, 0x2804, 1, 4, 0, 0xffffffff, ALWAYS, plain, ring)                                 \
	X(RDLEN, 0x2808, 1, 4, 0, 0x000fff80, ALWAYS, plain, ring)                                 \
	X(RDH, 0x2810, 1, 4, 0, 0x0000ffff, ALWAYS, plain, ring)                                   \
	X(RDT, 0x2818, 1, 4, 0, 0x0000ffff, ALWAYS, plain, rdt)                                    \
	X(RDTR, 0x2820, 1, 4, 0, 0x8000ffff, MITIG, plain, rdtr)                                   \
	X(RXDCTL, 0x2828, 1, 4, 0, 0xffffffff, ALWAYS, plain, plain)                               \
	X(RADV, 0x282c, 1, 4, 0, 0x0000ffff, MITIG, plain, plain)                                  \
	X(RSRPD, 0x2c00, 1, 4, 0, 0x00000fff, ALWAYS, plain, plain)                                \
	X(TXDMAC, 0x3000, 1, 4, 0, 0x00000001, ALWAYS, plain, plain)                               \
	X(TDFH, 0x3410, 1, 4, 0, 0x00001fff, EXTRA, plain, plain)                                  \
	X(TDFT, 0x3418, 1, 4, 0, 0x00001fff, EXTRA, plain, plain)                                  \
	X(TDFHS, 0x3420, 1, 4, 0, 0x00001fff, EXTRA, plain, plain)                                 \
	X(TDFTS, 0x3428, 1, 4, 0, 0x00001fff, EXTRA, plain, plain)                                 \
	X(TDFPC, 0x3430, 1, 4, 0, 0x00001fff, EXTRA, plain, plain)                                 \
	X(TDBAL, 0x3800, 1, 4, 0, 0xfffffff0, ALWAYS, plain, ring)                                 \
	X(TDBAH, 0x3804, 1, 4, 0, 0xffffffff, ALWAYS, plain, ring)                                 \
	X(TDLEN, 0x3808, 1, 4, 0, 0x000fff80, ALWAYS, plain, ring)                                 \
	X(TDH, 0x3810, 1, 4, 0, 0x0000ffff, ALWAYS, plain, ring)                                   \
	X(TDT, 0x3818, 1, 4, 0, 0x0000ffff, ALWAYS, plain, tdt)                                    \
	X(TIDV, 0x3820, 1, 4, 0, 0x0000ffff, MITIG, plain, plain)                                  \
	X(TXDCTL, 0x3828, 1, 4, 0, 0xffffffff, ALWAYS, plain, plain)                               \
	X(TADV, 0x382c, 1, 4, 0, 0x0000ffff, MITIG, plain, plain)                                  \
	X(TSPMT, 0x3830, 1, 4, 0, 0xffffffff, ALWAYS, plain, plain)                                \
	X(STATS, 0x4000, 64, 4, 0, 0xffffffff, ALWAYS, stats, none)                                \
	X(RXCSUM, 0x5000, 1, 4, 0, 0x000003ff, ALWAYS, plain, rx_config)                           \
	X(MTA, 0x5200, 128, 4, 0, 0xffffffff, ALWAYS, plain, plain)                                \
	X(RA, 0x5400, 32, 4, 0, 0xffffffff, ALWAYS, plain, ra)                                     \
	X(VFTA, 0x5600, 128, 4, 0, 0xffffffff, ALWAYS, plain, plain)                               \
	X(WUC, 0x5800, 1, 4, 0, 0xffffffff, EXTRA, plain, plain)                                   \
	X(WUFC, 0x5808, 1, 4, 0, 0xffffffff, EXTRA, plain, plain)                                  \
	X(WUS, 0x5810, 1, 4, 0, 0xffffffff, EXTRA, plain, plain)                                   \
	X(MANC, 0x5820, 1, 4, 0x00222300, 0xffffffff, ALWAYS, plain, plain)                        \
	X(IPAV, 0x5838, 1, 4, 0, 0xffffffff, EXTRA, plain, plain)                                  \
	X(IP4AT, 0x5840, 4, 8, 0, 0xffffffff, EXTRA, plain, plain)                                 \
	X(IP6AT, 0x5880, 4, 4, 0, 0xffffffff, EXTRA, plain, plain)                                 \
	X(WUPL, 0x5900, 1, 4, 0, 0x00000fff, EXTRA, plain, plain)                                  \
	X(WUPM, 0x5a00, 32, 4, 0, 0xffffffff, EXTRA, plain, plain)                                 \
	X(SWSM, 0x5b50, 1, 4, 0, 0xffffffff, ALWAYS, plain, plain)                                 \
	X(FFLT, 0x5f00, 4, 8, 0, 0x000007ff, EXTRA, plain, plain)                                  \
	X(FFMT, 0x9000, 128, 8, 0, 0x0000000f, EXTRA, plain, plain)                                \
	X(FFVT, 0x9800, 128, 8, 0, 0xffffffff, EXTRA, plain, plain)

/* X(name, offset, count, stride): where the 82542 had a register, and all its successors have it
 * too (13.4, "alias address"). */
#define E1000_ALIASES(X)                                                                           \
	X(RA, 0x0040, 32, 4)                                                                       \
	X(RDTR, 0x0108, 1, 4)                                                                      \
	X(RDBAL, 0x0110, 1, 4)                                                                     \
	X(RDBAH, 0x0114, 1, 4)                                                                     \
	X(RDLEN, 0x0118, 1, 4)                                                                     \
	X(RDH, 0x0120, 1, 4)                                                                       \
	X(RDT, 0x0128, 1, 4)                                                                       \
	X(FCRTH, 0x0160, 1, 4)                                                                     \
	X(FCRTL, 0x0168, 1, 4)                                                                     \
	X(MTA, 0x0200, 128, 4)                                                                     \
	X(TDBAL, 0x0420, 1, 4)                                                                     \
	X(TDBAH, 0x0424, 1, 4)                                                                     \
	X(TDLEN, 0x0428, 1, 4)                                                                     \
	X(TDH, 0x0430, 1, 4)                                                                       \
	X(TDT, 0x0438, 1, 4)                                                                       \
	X(TIDV, 0x0440, 1, 4)                                                                      \
	X(VFTA, 0x0600, 128, 4)                                                                    \
	X(RDFH, 0x8000, 1, 4)                                                                      \
	X(RDFT, 0x8008, 1, 4)                                                                      \
	X(TDFH, 0x8010, 1, 4)                                                                      \
	X(TDFT, 0x8018, 1, 4)

#define E1000_PBM 0x10000 /* packet buffer memory (13.9.9), up to the end of the BAR */
#define E1000_PBM_WORDS 0x4000

enum e1000_slot {
#define X(name, off, count, ...) R_##name, R_##name##_LAST = R_##name + (count)-1,
	E1000_REGS(X)
#undef X
		E1000_N_SLOTS
};

/*
 * X(name, offset - 0x4000, gate, read): statistics (13.7), reg[R_STATS + STAT_<name>]. Reading
 * clears a counter, LOW leaves it, HIGH clears both halves.
 */
#define E1000_STATS(X)                                                                             \
	X(CRCERRS, 0x00, ALWAYS, CLEAR)                                                            \
	X(ALGNERRC, 0x04, ALWAYS, CLEAR)                                                           \
	X(SYMERRS, 0x08, ALWAYS, CLEAR)                                                            \
	X(RXERRC, 0x0c, ALWAYS, CLEAR)                                                             \
	X(MPC, 0x10, ALWAYS, CLEAR)                                                                \
	X(SCC, 0x14, EXTRA, CLEAR)                                                                 \
	X(ECOL, 0x18, EXTRA, CLEAR)                                                                \
	X(MCC, 0x1c, EXTRA, CLEAR)                                                                 \
	X(LATECOL, 0x20, EXTRA, CLEAR)                                                             \
	X(COLC, 0x28, EXTRA, CLEAR)                                                                \
	X(DC, 0x30, EXTRA, CLEAR)                                                                  \
	X(TNCRS, 0x34, EXTRA, CLEAR)                                                               \
	X(SEC, 0x38, EXTRA, CLEAR)                                                                 \
	X(CEXTERR, 0x3c, EXTRA, CLEAR)                                                             \
	X(RLEC, 0x40, EXTRA, CLEAR)                                                                \
	X(XONRXC, 0x48, EXTRA, CLEAR)                                                              \
	X(XONTXC, 0x4c, EXTRA, CLEAR)                                                              \
	X(XOFFRXC, 0x50, EXTRA, CLEAR)                                                             \
	X(XOFFTXC, 0x54, EXTRA, CLEAR)                                                             \
	X(FCRUC, 0x58, EXTRA, CLEAR)                                                               \
	X(PRC64, 0x5c, EXTRA, CLEAR)                                                               \
	X(PRC127, 0x60, EXTRA, CLEAR)                                                              \
	X(PRC255, 0x64, EXTRA, CLEAR)                                                              \
	X(PRC511, 0x68, EXTRA, CLEAR)                                                              \
	X(PRC1023, 0x6c, EXTRA, CLEAR)                                                             \
	X(PRC1522, 0x70, EXTRA, CLEAR)                                                             \
	X(GPRC, 0x74, ALWAYS, CLEAR)                                                               \
	X(BPRC, 0x78, EXTRA, CLEAR)                                                                \
	X(MPRC, 0x7c, EXTRA, CLEAR)                                                                \
	X(GPTC, 0x80, ALWAYS, CLEAR)                                                               \
	X(GORCL, 0x88, EXTRA, LOW)                                                                 \
	X(GORCH, 0x8c, EXTRA, HIGH)                                                                \
	X(GOTCL, 0x90, EXTRA, LOW)                                                                 \
	X(GOTCH, 0x94, EXTRA, HIGH)                                                                \
	X(RNBC, 0xa0, EXTRA, CLEAR)                                                                \
	X(RUC, 0xa4, EXTRA, CLEAR)                                                                 \
	X(RFC, 0xa8, EXTRA, CLEAR)                                                                 \
	X(ROC, 0xac, EXTRA, CLEAR)                                                                 \
	X(RJC, 0xb0, EXTRA, CLEAR)                                                                 \
	X(MGTPRC, 0xb4, EXTRA, CLEAR)                                                              \
	X(MGTPDC, 0xb8, EXTRA, CLEAR)                                                              \
	X(MGTPTC, 0xbc, EXTRA, CLEAR)                                                              \
	X(TORL, 0xc0, ALWAYS, LOW)                                                                 \
	X(TORH, 0xc4, ALWAYS, HIGH)                                                                \
	X(TOTL, 0xc8, ALWAYS, LOW)                                                                 \
	X(TOTH, 0xcc, ALWAYS, HIGH)                                                                \
	X(TPR, 0xd0, ALWAYS, CLEAR)                                                                \
	X(TPT, 0xd4, ALWAYS, CLEAR)                                                                \
	X(PTC64, 0xd8, EXTRA, CLEAR)                                                               \
	X(PTC127, 0xdc, EXTRA, CLEAR)                                                              \
	X(PTC255, 0xe0, EXTRA, CLEAR)                                                              \
	X(PTC511, 0xe4, EXTRA, CLEAR)                                                              \
	X(PTC1023, 0xe8, EXTRA, CLEAR)                                                             \
	X(PTC1522, 0xec, EXTRA, CLEAR)                                                             \
	X(MPTC, 0xf0, EXTRA, CLEAR)                                                                \
	X(BPTC, 0xf4, EXTRA, CLEAR)                                                                \
	X(TSCTC, 0xf8, EXTRA, CLEAR)                                                               \
	X(TSCTFC, 0xfc, EXTRA, CLEAR)

enum e1000_stat {
#define X(name, off, gate, read) STAT_##name = (off) / 4,
	E1000_STATS(X)
#undef X
};

/* Bits, named <register>_<bit> as the manual prints them; sections 13.4.x. */
enum {
	CTRL_FD = 1 << 0,
	CTRL_LRST = 1 << 3,
	CTRL_ASDE = 1 << 5,
	CTRL_SLU = 1 << 6,
	CTRL_SPEED = 3 << 8,
	CTRL_SPD_1000 = 2 << 8,
	CTRL_FRCSPD = 1 << 11,
	CTRL_FRCDPLX = 1 << 12,
	CTRL_RST = 1 << 26,
	CTRL_RFCE = 1 << 27,
	CTRL_TFCE = 1 << 28,
	CTRL_VME = 1 << 30,
};
#define CTRL_PHY_RST (1u << 31)

enum { CTRL_EXT_EE_RST = 1 << 13 };

enum {
	STATUS_FD = 1 << 0,
	STATUS_LU = 1 << 1,
	STATUS_SPEED = 3 << 6,
	STATUS_SPD_1000 = 2 << 6,
	STATUS_ASDV_1000 = 2 << 8,
};

enum {
	EECD_SK = 1 << 0,
	EECD_CS = 1 << 1,
	EECD_DI = 1 << 2,
	EECD_DO = 1 << 3,
	EECD_FWE = 3 << 4,
	EECD_REQ = 1 << 6,
	EECD_GNT = 1 << 7,
	EECD_PRES = 1 << 8,
};

enum { EERD_START = 1 << 0, EERD_DONE = 1 << 4, EERD_ADDR_SHIFT = 8, EERD_DATA_SHIFT = 16 };

enum {
	MDIC_DATA = 0xffff,
	MDIC_REG_SHIFT = 16,
	MDIC_PHY_SHIFT = 21,
	MDIC_OP = 3 << 26,
	MDIC_OP_WRITE = 1 << 26,
	MDIC_OP_READ = 2 << 26,
	MDIC_R = 1 << 28,
	MDIC_I = 1 << 29,
	MDIC_E = 1 << 30,
};

#define RDTR_FPD (1u << 31)

enum {
	ICR_TXDW = 1 << 0,
	ICR_TXQE = 1 << 1,
	ICR_LSC = 1 << 2,
	ICR_RXSEQ = 1 << 3,
	ICR_RXDMT0 = 1 << 4,
	ICR_RXO = 1 << 6,
	ICR_RXT0 = 1 << 7,
	ICR_MDAC = 1 << 9,
	ICR_TXD_LOW = 1 << 15,
	ICR_SRPD = 1 << 16,
};

enum {
	RCTL_EN = 1 << 1,
	RCTL_SBP = 1 << 2,
	RCTL_UPE = 1 << 3,
	RCTL_MPE = 1 << 4,
	RCTL_LPE = 1 << 5,
	RCTL_LBM = 3 << 6,
	RCTL_RDMTS = 3 << 8,
	RCTL_RDMTS_SHIFT = 8,
	RCTL_MO = 3 << 12,
	RCTL_MO_SHIFT = 12,
	RCTL_BAM = 1 << 15,
	RCTL_BSIZE = 3 << 16,
	RCTL_BSIZE_SHIFT = 16,
	RCTL_VFE = 1 << 18,
	RCTL_CFIEN = 1 << 19,
	RCTL_CFI = 1 << 20,
	RCTL_DPF = 1 << 22,
	RCTL_PMCF = 1 << 23,
	RCTL_BSEX = 1 << 25,
	RCTL_SECRC = 1 << 26,
};

enum { TCTL_EN = 1 << 1, TCTL_PSP = 1 << 3 };

enum { RXCSUM_PCSS = 0xff, RXCSUM_IPOFL = 1 << 8, RXCSUM_TUOFL = 1 << 9 };

#define RAH_AV (1u << 31)

/* Receive descriptor (3.2.3): status and errors. */
enum {
	RXD_DD = 0x01,
	RXD_EOP = 0x02,
	RXD_IXSM = 0x04,
	RXD_VP = 0x08,
	RXD_TCPCS = 0x20,
	RXD_IPCS = 0x40,
	RXD_PIF = 0x80,
};
enum { RXE_CE = 0x01, RXE_TCPE = 0x20, RXE_IPE = 0x40 };

/* Transmit descriptors (3.3.3, 3.3.6, 3.3.7): command byte, status, options. */
enum {
	TXD_EOP = 0x01,
	TXD_IFCS = 0x02,
	TXD_IC = 0x04 /* legacy */,
	TXD_TSE = 0x04 /* context and data */,
	TXD_RS = 0x08,
	TXD_RPS = 0x10,
	TXD_DEXT = 0x20,
	TXD_VLE = 0x40,
	TXD_IDE = 0x80,
};
enum { TXD_DTYP_CONTEXT = 0, TXD_DTYP_DATA = 1 };
enum { TXD_DD = 0x01, TXD_EC = 0x02, TXD_LC = 0x04, TXD_TU = 0x08 };
enum { TXD_IXSM = 0x01, TXD_TXSM = 0x02 };
enum { TUCMD_TCP = 0x01, TUCMD_IP = 0x02, TUCMD_TSE = 0x04 };

#endif
